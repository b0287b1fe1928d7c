"""Render `examples/`: a portrait and a performance, by our own renderer from the VALID avatars (MIT).

    python training/assets/render_examples.py --avatars ../shared/data/valid_avatars [--out examples]

The same bytes come out each time on the same machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from icface.command import Parser, run_command
from training.avatars.acting import eased
from training.avatars.glb import load_avatar
from training.avatars.render import Performance, Studio, View

SOURCE, DRIVER = "White_F_2_Casual", "Hispanic_M_2_Casual"
FPS = 30
SECONDS = 8
SAMPLE_RATE = 44_100
CREDIT = "Rendered from VALID avatars (MIT, Copyright 2022 Tiffany Do) by ICface Live"

# (time in seconds, value) of each part of the performance, joined by smooth steps.
_KEYS: dict[str, tuple[tuple[float, float], ...]] = {
    "yaw": ((0.7, 0), (1.3, 18), (1.7, 18), (2.5, -18), (2.9, -18), (3.4, 0), (6.2, 0), (6.6, 8), (7.2, -6), (7.7, 0)),
    "pitch": ((3.3, 0), (3.7, 13), (4.0, 13), (4.5, -12), (4.8, -12), (5.2, 0)),
    "roll": ((5.0, 0), (5.4, 8), (5.6, 8), (6.1, -7), (6.5, 0)),
    "brows_up": ((0.9, 0), (1.2, 1), (1.6, 1), (1.9, 0), (6.8, 0), (7.0, 0.7), (7.2, 0)),
    "brows_down": ((2.3, 0), (2.6, 1), (3.0, 1), (3.2, 0)),
    "smile": ((2.9, 0), (3.1, 0.4), (3.3, 0), (6.8, 0), (7.1, 0.9), (7.5, 0.9), (7.8, 0)),
    "blink": (
        (0.40, 0), (0.47, 1), (0.53, 1), (0.62, 0), (2.05, 0), (2.12, 1), (2.18, 1), (2.27, 0),
        (4.75, 0), (4.85, 1), (5.25, 1), (5.38, 0), (6.60, 0), (6.67, 1), (6.72, 1), (6.80, 0),
    ),
}  # fmt: skip
_TALK_S = (5.2, 7.0)


def _value(name: str, time_s: float) -> float:
    return float(eased(time_s, *np.array(_KEYS[name]).T))


def mouth_opening(time_s: float) -> float:
    """0 to 1: syllables while talking."""
    start_s, end_s = _TALK_S
    if not start_s < time_s < end_s:
        return 0.0
    envelope = min(1.0, 5 * (time_s - start_s), 5 * (end_s - time_s))
    syllables = abs(np.sin(2 * np.pi * 2.1 * (time_s - start_s))) ** 1.3
    return float(envelope * syllables * (0.65 + 0.35 * np.sin(2 * np.pi * 0.7 * time_s + 1)))


def performance_at(time_s: float) -> Performance:
    """The driver's acting at a time."""
    up, down, smile = _value("brows_up", time_s), _value("brows_down", time_s), _value("smile", time_s)
    blink, mouth = _value("blink", time_s), mouth_opening(time_s)
    breath = np.sin(2 * np.pi * 0.25 * time_s) * min(1.0, time_s, SECONDS - time_s)
    morphs = {
        **dict.fromkeys(("RRbrowUp", "RbrowUp", "LbrowUp", "LLbrowUp"), 0.9 * up),
        **dict.fromkeys(("RRbrowDown", "RbrowDown", "LbrowDown", "LLbrowDown"), 0.9 * down),
        **dict.fromkeys(("RsmileClose", "LsmileClose"), 0.8 * smile),
        **dict.fromkeys(("ReyeClose", "LeyeClose"), blink),
        "MouthOpen": 0.75 * mouth,
        "UH_OO": 0.25 * mouth * (0.5 + 0.5 * np.sin(9 * time_s)),
    }
    return Performance(
        yaw_rad=np.radians(_value("yaw", time_s) + 0.4 * breath),
        pitch_rad=np.radians(_value("pitch", time_s) + 0.6 * breath),
        roll_rad=np.radians(_value("roll", time_s)),
        morphs=morphs,
    )


def hum() -> NDArray[np.float32]:
    """(1, n) a soft voice-like tone that follows the mouth."""
    time_s = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    coarse = np.arange(0, SECONDS, 1 / 200)
    level = np.interp(time_s, coarse, [mouth_opening(float(t)) for t in coarse])
    pitch_hz = 118 + 10 * np.sin(2 * np.pi * 0.9 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
    tone = sum(np.sin(k * phase) / k**1.6 for k in range(1, 9))
    return np.asarray((0.16 * level * tone)[None], dtype=np.float32)


def render_source(avatars: Path, out: Path) -> None:
    """The portrait, 768×768 JPEG."""
    background = ((150, 158, 164), (96, 100, 104))
    view = View(
        width_px=768, height_px=768, head_px=470, centre=(0.5, 0.51), background=background, grain=1.0
    )
    frame = Studio(load_avatar(avatars / f"{SOURCE}.glb"), view).frame(Performance())
    exif = Image.Exif()
    exif[0x010E] = CREDIT
    Image.fromarray(frame).save(out / "rendered.jpg", quality=92, exif=exif)


def render_driver(avatars: Path, out: Path) -> None:
    """The performance, 640×480 at 30 FPS with sound."""
    studio = Studio(load_avatar(avatars / f"{DRIVER}.glb"), View(head_px=340, centre=(0.5, 0.5)))
    with av.open(str(out / "driver.mp4"), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = CREDIT
        video = container.add_stream(
            "libx264", rate=FPS, options={"crf": "20", "preset": "slow", "threads": "1"}
        )
        video.width, video.height, video.pix_fmt = 640, 480, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=48_000)
        for index in range(SECONDS * FPS):
            picture = av.VideoFrame.from_ndarray(studio.frame(performance_at(index / FPS)), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(picture))
            if index % FPS == 0:
                print(f"driver: {index} of {SECONDS * FPS} frames", flush=True)
        container.mux(video.encode())
        sound = hum()
        for start in range(0, sound.shape[1], 1024):
            chunk = np.ascontiguousarray(sound[:, start : start + 1024])
            block = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(block))
        container.mux(audio.encode())


def render(flags: argparse.Namespace) -> None:
    """Run the command."""
    flags.out.mkdir(parents=True, exist_ok=True)
    render_source(flags.avatars, flags.out)
    render_driver(flags.avatars, flags.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    parser = Parser(description="Render the example portrait and performance.")
    parser.add_argument("--avatars", type=Path, required=True, help="folder of the VALID avatars' GLB files")
    parser.add_argument("--out", type=Path, default=Path("examples"))
    return run_command(parser, render, argv)


if __name__ == "__main__":
    sys.exit(main())
