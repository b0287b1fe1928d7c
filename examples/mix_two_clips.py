"""The head and the mouth of one clip, the eyes and brows of another, on one photo.

python examples/mix_two_clips.py me.jpg first.mp4 second.mp4 out.mp4
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from realtime.config import LiveConfig
from realtime.metrics import Metrics
from realtime.session import run


def mix_two_clips(photo: Path, first: Path, second: Path, output: Path, frames: int | None = None) -> None:
    """Write the video; `frames` is how many, None all of the first clip's."""
    drivers = (str(first), str(second))
    mix = ("pose=1", "mouth=1", "eyes=2", "gaze=2", "brows=2")
    config = LiveConfig(sources=(photo,), drivers=drivers, mix=mix, outputs=(output,), frames=frames)
    run(config, Metrics(), threading.Event())


if __name__ == "__main__":
    photo, first, second, output = (Path(name) for name in sys.argv[1:5])
    mix_two_clips(photo, first, second, output)
