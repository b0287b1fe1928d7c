"""`--list-faces`: the faces of the photos, numbered as `--face` counts them, in one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from icface.arrays import Frame
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.face.landmarks import Landmarks
from icface.face.photo import faces_of
from icface.files import write_file
from icface.images import load_photo

WIDTH_PX: Final = 1280
TILES: Final = 8
"""Faces beside each other below their photo."""
_AROUND: Final = 1.6
_COLOUR: Final = (255, 220, 0)
_DARK: Final = (24, 24, 24)


def list_faces(photos: Sequence[Path], picture: Path) -> list[str]:
    """Write the numbered picture, a PNG file, and give a line for each face.

    Raises:
        ConfigError: there is no photo, the picture's name is no PNG file's, or it is one of the photos.
        SourceError: a photo cannot be read, or none has a face.
        ICFaceError: the picture cannot be written.
    """
    if not photos:
        raise ConfigError("no photo: name one, such as icface-live me.jpg --list-faces faces.png")
    if picture.suffix.lower() != ".png":
        raise ConfigError(f"--list-faces {picture}: give the name of a PNG file, as faces.png")
    if picture.resolve() in [path.resolve() for path in photos]:
        raise ConfigError(f"{picture} would be overwritten while it is in use; give another name")
    lines, sheets = [], []
    for path in photos:
        frame = load_photo(path).frame
        faces = faces_of(frame)
        if not faces:
            lines.append(f"{path}: no face found")
        for number, face in enumerate(faces, 1):
            left, top, right, bottom = (round(edge) for edge in face.box_px)
            lines.append(f"{path}: face {number} from ({left}, {top}) to ({right}, {bottom})")
        if faces:
            sheets.append(contact_picture(frame, faces))
    if not sheets:
        raise SourceError(f"no face found in {', '.join(map(str, photos))}")
    content = io.BytesIO()
    Image.fromarray(np.vstack(sheets)).save(content, "PNG")
    try:
        write_file(picture, content.getvalue())
    except OSError as error:
        raise ICFaceError(f"cannot write {picture}: {error.strerror or error}") from error
    return lines


def contact_picture(frame: Frame, faces: Sequence[Landmarks]) -> Frame:
    """(H, WIDTH_PX, 3) a photo with its faces numbered, and below it each face alone.

    Args:
        frame: (H, W, 3) RGB.
        faces: in the order of their numbers.
    """
    scale = WIDTH_PX / frame.shape[1]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size_px = WIDTH_PX, max(1, round(frame.shape[0] * scale))
    shown = np.asarray(cv2.resize(frame, size_px, interpolation=how), dtype=np.uint8)
    for number, face in enumerate(faces, 1):
        left, top, right, bottom = (round(edge * scale) for edge in face.box_px)
        cv2.rectangle(shown, (left, top), (right, bottom), _COLOUR, 3)
        _write(shown, str(number), left, top)
    side = WIDTH_PX // TILES
    rows = -(-len(faces) // TILES)
    tiles = np.full((rows * side, WIDTH_PX, 3), _DARK, dtype=np.uint8)
    for place, face in enumerate(faces):
        y, x = place // TILES * side, place % TILES * side
        tiles[y : y + side, x : x + side] = _alone(frame, face, side)
        _write(tiles, str(place + 1), x, y)
    return np.asarray(np.vstack([shown, tiles]), dtype=np.uint8)


def _alone(frame: Frame, face: Landmarks, side: int) -> Frame:
    left, top, right, bottom = face.box_px
    step = _AROUND * max(right - left, bottom - top) / side
    corner = np.array([(left + right) / 2, (top + bottom) / 2]) - step * (side - 1) / 2
    to_photo = np.array([[step, 0, corner[0]], [0, step, corner[1]]])
    how = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    tile = cv2.warpAffine(frame, to_photo, (side, side), flags=how, borderValue=_DARK)
    return np.asarray(tile, dtype=np.uint8)


def _write(picture: Frame, text: str, left: int, top: int) -> None:
    """A number on a dark ground at an upper left corner, which is moved into the picture."""
    width = 14 + 18 * len(text)
    left = min(max(left, 0), picture.shape[1] - width)
    top = min(max(top, 0), max(picture.shape[0] - 36, 0))
    cv2.rectangle(picture, (left, top), (left + width, top + 36), _DARK, -1)
    cv2.putText(picture, text, (left + 7, top + 28), cv2.FONT_HERSHEY_SIMPLEX, 0.9, _COLOUR, 2, cv2.LINE_AA)
