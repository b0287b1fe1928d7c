"""What still pictures for people share: text, and writing a picture with what discloses it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from icface.errors import DeviceError
from icface.files import replacing_file
from realtime.disclosure import Provenance

PAPER: Final = (255, 255, 255)
INK: Final = (34, 34, 34)
FAINT: Final = (128, 128, 128)


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is there on every machine."""
    return ImageFont.load_default(size_px)


def write(
    draw: ImageDraw.ImageDraw,
    at_px: tuple[float, float],
    text: str,
    size_px: int,
    colour: tuple[int, int, int] = INK,
    anchor: str = "lm",
) -> None:
    """Write a line of text; `anchor` says which point of it is at `at_px`, as Pillow does."""
    # The font has no true minus.
    draw.text(at_px, text.replace("−", "-"), font=font(size_px), fill=colour, anchor=anchor)


def width_of(text: str, size_px: int) -> float:
    """Pixels that a line of text is wide."""
    return float(font(size_px).getlength(text))


def save_picture(picture: NDArray[np.uint8], path: Path, provenance: Provenance | None = None) -> None:
    """Write (H, W, 3) RGB, or (H, W, 4) RGBA with straight colours, as PNG, WebP or JPEG by its suffix.

    Raises:
        DeviceError: it cannot be written.
    """
    how: dict[str, Any] = {"format": {".png": "PNG", ".webp": "WEBP"}.get(path.suffix.lower(), "JPEG")}
    if how["format"] in ("JPEG", "WEBP"):
        how["quality"] = 95
    if how["format"] == "JPEG":
        how["subsampling"] = 0
    if provenance is not None:
        how["xmp"] = provenance.xmp()
        if how["format"] == "PNG":
            how["pnginfo"] = info = PngInfo()
            for key, value in provenance.metadata().items():
                info.add_itxt(key, value)
            info.add_itxt("XML:com.adobe.xmp", how.pop("xmp").decode())
    try:
        with replacing_file(path) as unfinished:
            Image.fromarray(picture).save(unfinished, **how)
            if provenance is not None:
                provenance.complete(unfinished, path.suffix)
    except OSError as error:
        raise DeviceError(f"{path} cannot be written: {error.strerror or error}") from error
