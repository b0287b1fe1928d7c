"""A photo that moves by numbers alone, with no driver: `python examples/animate_by_numbers.py me.jpg out.webp`.

The face keeps the photo's own pose and expression, nods to the side, smiles and raises a brow.
"""

from __future__ import annotations

import sys
from math import sin
from pathlib import Path

from PIL import Image

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.control import source
from icface.control.mixing import Inputs, mix
from icface.control.state import ControlState
from icface.images import load_photo
from icface.reenactor import Reenactor

FPS = 25


def animate_by_numbers(photo: Path, output: Path, frames: int = 100) -> None:
    """Write a moving picture (.webp or .gif) of so many frames."""
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=256)
    face = reenactor.prepare_source(load_photo(photo))
    reenactor.set_source(face)
    pictures = []
    for i in range(frames):
        turn, smile = sin(i / 12), 0.5 - 0.5 * sin(i / 9)
        state = ControlState.default(drivers=0).with_channels("yaw", offset=0.2 * turn)
        state = state.with_channels("AU12", source=source.value(smile))
        state = state.with_channels("left AU02", source=source.value(max(0.0, turn)))
        attributes = mix(state, Inputs(photo=face.own))
        pictures.append(Image.fromarray(reenactor.animate(attributes)))
    reenactor.close()
    pictures[0].save(output, save_all=True, append_images=pictures[1:], duration=1000 // FPS, loop=0)


if __name__ == "__main__":
    animate_by_numbers(Path(sys.argv[1]), Path(sys.argv[2]))
