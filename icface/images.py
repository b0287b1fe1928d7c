"""Photos loaded safely: any common file becomes RGB, upright, opaque, of a bounded size, or one clear error."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from icface.errors import SourceError

Frame = NDArray[np.uint8]

MAX_PIXELS: Final = 100_000_000
MAX_FILE_BYTES: Final = 200_000_000
MAX_SIDE_PX: Final = 4096
"""Larger photos are reduced after loading: no output is larger."""
BEHIND_ALPHA: Final = (128, 128, 128)

_HEIC_BRANDS: Final = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class Photo:
    """A photo in memory."""

    frame: Frame
    """(H, W, 3) RGB, upright."""
    sha256: str
    """Hex digest of the file's bytes."""
    path: Path


def load_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo.

    EXIF orientation is applied; transparency lies over neutral grey; grey, palette, CMYK and 16-bit files become
    8-bit RGB; of an animation the first picture is taken.

    Args:
        path: the file.
        max_pixels: refused above this, before anything is decoded.

    Raises:
        SourceError: missing, not a picture, HEIC, damaged, or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SourceError(f"{path} is {size / 1e6:.0f} MB large; use a photo of at most 200 MB")
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        raise SourceError(f"{path} is a HEIC photo; convert it to JPEG or PNG first")
    try:
        with warnings.catch_warnings():
            # Our own limit follows, with a message that says what to do.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                _check_size(path, image.size, max_pixels)
                # A JPEG is decoded at a fraction of its size where that is enough.
                image.draft("RGB", (2 * MAX_SIDE_PX, 2 * MAX_SIDE_PX))
                frame = _to_rgb(image)
    except Image.DecompressionBombError as error:
        raise SourceError(
            f"{path} is far too large a picture; reduce it to {MAX_SIDE_PX} pixels a side"
        ) from error
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} is not a picture that can be read; use a JPEG, PNG or WebP") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise SourceError(f"{path} is damaged or cut short ({error}); save or copy it again") from error
    return Photo(frame=frame, sha256=hashlib.sha256(content).hexdigest(), path=path)


def _check_size(path: Path, size_px: tuple[int, int], max_pixels: int) -> None:
    width, height = size_px
    if width * height > max_pixels:
        raise SourceError(
            f"{path} is {width}×{height} pixels, more than {max_pixels // 1_000_000} million; "
            f"reduce it to {MAX_SIDE_PX} pixels a side"
        )


def _to_rgb(image: Image.Image) -> Frame:
    image.load()
    upright = ImageOps.exif_transpose(image)
    if max(upright.size) > MAX_SIDE_PX:
        upright.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_deep_grey(upright)
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        coloured = upright.convert("RGBA")
        behind = Image.new("RGBA", coloured.size, (*BEHIND_ALPHA, 255))
        return np.array(Image.alpha_composite(behind, coloured).convert("RGB"), dtype=np.uint8)
    return np.array(upright.convert("RGB"), dtype=np.uint8)


def _from_deep_grey(image: Image.Image) -> Frame:
    """16- or 32-bit grey: 0–65535 to 0–255."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not numbers")
    top = 65535.0 if values.max() > 255 else 255.0
    grey = np.clip(np.round(values / top * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
