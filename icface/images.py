"""Photos loaded safely: any common file becomes RGB, upright, opaque and of a bounded size, or gives one clear error."""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import math
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from icface.arrays import Frame
from icface.errors import SourceError

logger = logging.getLogger(__name__)

MAX_PIXELS: Final = 220_000_000
"""Telephones take photos of up to 200 million."""
MAX_FILE_SIDE_PX: Final = 65_535
MAX_FILE_BYTES: Final = 400_000_000
MAX_SIDE_PX: Final = 4096
"""Larger photos are reduced after loading, because no output is larger."""
LONG: Final = 2.5
"""Of a panorama, a part is shown that is at most so many times as long as high. That part has MAX_SIDE_PX at most."""
AT_EDGE_PX: Final = 1.5
"""A crop ends with its photo where their borders are not farther apart, in crop pixels. There nothing has to fit in."""
BRIGHTEST: Final = 16.0
"""Floating point up to here has the scale 0–1: on the scale 0–255 such a photo would be black."""
BEHIND_ALPHA: Final = (128, 128, 128)

# Pillow reads more formats, but some of them start other programs (EPS runs Ghostscript) or are hardly ever photos.
FORMATS: Final = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "TGA", "AVIF"]
_ANIMATED: Final = ("GIF", "PNG", "WEBP", "AVIF")
"""A TIFF's other pictures are pages, and a JPEG's are the same one in another size or light."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_PNG_ORIENTATIONS: Final = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
_HEIC_BRANDS: Final = b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()

# Pillow's decoders raise these on bytes that make no sense.
_DAMAGED: Final = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError,
    struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A photo in memory."""

    frame: Frame
    """(H, W, 3) RGB, upright."""
    sha256: str
    """Hex digest of the file's bytes."""
    path: Path
    moves: bool = False
    """Whether the file is an animation, whose first picture this is."""
    reduced: bool = False
    """Whether the file shows it with more pixels."""

    @property
    def when_reduced(self) -> str:
        """That it was reduced, as the end of a sentence; empty where it was not."""
        height, width = self.frame.shape[:2]
        return f" after the photo was reduced to {width}×{height} pixels" if self.reduced else ""


def load_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo.

    EXIF orientation and a colour profile are applied. Transparency is laid over neutral grey. Grey, palette, CMYK and
    16-bit files become 8-bit RGB. An animation gives its first picture. A photo of more than 4096 pixels a side is
    reduced to 4096, a panorama less, and faces are looked for in what is left. One of more than `max_pixels` in all is
    refused before anything is decoded. HEIC is read where the user has installed pillow-heif.

    Raises:
        SourceError: missing, not a picture, HEIC that cannot be read here, damaged, or too large.
    """
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    formats = FORMATS
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        if not _reads_heic():
            raise SourceError(
                f"{path} is a HEIC photo; run `pip install pillow-heif` once to read such photos, or convert it to JPEG"
            )
        formats = ["HEIF"]
    Image.init()
    built_with = [name for name in formats if name in Image.OPEN]
    if content.startswith(_PNG):
        content = _without_texts(content)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and odd metadata. What matters is checked here.
            warnings.simplefilter("ignore")
            with _opened(content, built_with) as image:
                width, height = image.size
                if width * height > max_pixels or max(image.size) > MAX_FILE_SIDE_PX:
                    raise SourceError(
                        f"{path} is {width}×{height} pixels; at most {max_pixels / 1e6:g} million and "
                        f"{MAX_FILE_SIDE_PX} a side can be read; reduce it to {MAX_SIDE_PX} a side"
                    )
                moves = image.format in _ANIMATED and getattr(image, "is_animated", False)
                # A JPEG is decoded at a half, quarter or eighth of its size where that is enough.
                image.draft("RGB", (_longest_px(width, height),) * 2)
                frame = _to_rgb(image)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} is not a picture that can be read; use JPEG, PNG or WebP") from error
    except _DAMAGED as error:
        raise SourceError(
            f"{path} is damaged, cut short or of an unusual kind ({error or type(error).__name__}); "
            "save it again as a JPEG or PNG"
        ) from error
    reduced = frame.shape[0] * frame.shape[1] < width * height
    return Photo(frame=frame, sha256=sha256, path=path, moves=moves, reduced=reduced)


def cut_crop(frame: Frame, affine: NDArray[np.float64], size_px: int | tuple[int, int]) -> Frame:
    """A crop of a picture (H, W, 3), which is mirrored where the crop leaves it.

    `size_px` is the side of a square, or (width, height). `affine` (2, 3) leads from crop pixels to picture pixels, with
    centres at integers, by one scale and a shift.
    """
    scale = affine[0, 0]
    if scale > 1.5:  # shrink with an area filter first, so that nothing aliases
        factor = 1 / scale
        shrunk = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        frame = np.asarray(shrunk, dtype=np.uint8)
        affine = affine * factor
        affine[:, 2] += factor / 2 - 0.5
    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    crop = cv2.warpAffine(frame, affine, size, flags=how, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(crop, dtype=np.uint8)


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            # A folder cannot be read, a pipe waits for ever, and some devices never end.
            raise SourceError(f"{path} is not a file; name a photo, as me.jpg")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise SourceError(
                f"{path} is {size / 1e6:.0f} MB large; use a photo of at most {MAX_FILE_BYTES / 1e6:.0f} MB"
            )
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


_opening = threading.Lock()


def _opened(content: bytes, formats: list[str]) -> Image.Image:
    """A picture whose size is known, and nothing else yet. Pillow's own limit is lower than that of this module."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _reads_heic() -> bool:
    """Whether pillow-heif is here, which reads HEIC. It does not come along: its wheels hold a library under the GPL."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except (ImportError, AttributeError) as error:
        logger.debug("HEIC cannot be read: %s", error)
        return False
    return True


def _without_texts(png: bytes) -> bytes:
    """A PNG file without its texts, which may be larger than Pillow reads; those that may tell the orientation stay."""
    kept, at = [png[:8]], 8
    while at + 12 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunk = png[at : at + 12 + length]
        if chunk[4:8] not in _PNG_TEXTS or chunk[8:].startswith(_PNG_ORIENTATIONS):
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept) + png[at:]


def _to_rgb(image: Image.Image) -> Frame:
    profile = image.info.get("icc_profile")
    image.load()
    try:
        image = ImageOps.exif_transpose(image)
    except _DAMAGED as error:  # the picture itself is good
        logger.debug("EXIF data that cannot be read: %s", error)
    if image.mode.startswith("I") or image.mode == "F":
        image = _from_deep_grey(image)
    elif image.mode in ("P", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        image = image.convert("RGB")
    # It is reduced in its own mode, which is the cheapest. A palette was converted, as resampling it does not smooth.
    side = _longest_px(*image.size)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if image.mode in ("RGBA", "LA"):
        behind = Image.new("RGBA", image.size, (*BEHIND_ALPHA, 255))
        image = Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _longest_px(width: int, height: int) -> int:
    """What the longer side of a photo is reduced to, at most."""
    longer, shorter = max(width, height), min(width, height)
    if longer <= LONG * shorter:
        return MAX_SIDE_PX
    # Both sides shrink by the same: to LONG heights of MAX_SIDE_PX, and to the pixels of two squares of it.
    share = min(MAX_SIDE_PX / (LONG * shorter), MAX_SIDE_PX * math.sqrt(2 / (longer * shorter)))
    return max(MAX_SIDE_PX, round(share * longer))


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey (0–65535), 32-bit (of unknown range: 8 or 16 bits) and floating point (0–1 or 0–255) to 8 bits.

    Floating point on the scale 0–1 may have lights above 1, which are clipped.
    """
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not numbers")
    brightest = values.max()
    top = 65535.0 if brightest > 255 else 1.0 if image.mode == "F" and brightest <= BRIGHTEST else 255.0
    return Image.fromarray(np.clip(np.round(values * (255 / top)), 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture in sRGB. Phones write Display P3, print shops their CMYK."""
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(meant):
            return image
        changed = ImageCms.profileToProfile(image, meant, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.debug("a colour profile that cannot be used: %s", error)
        return image
    return image if changed is None else changed
