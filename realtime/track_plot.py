"""A picture of a track over time: one row for each attribute that moves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from icface.attributes import (
    ALL_NAMES,
    INDEX,
    MEANING,
    SIDED,
    AttributeTrack,
)
from icface.control.units import degrees_of
from icface.errors import ConfigError
from realtime.drawing import FAINT, INK, PAPER, width_of, write

WIDTH_PX: Final = 1400
ROW_PX: Final = 52
LABEL_PX: Final = 236
RIGHT_PX: Final = 76
TOP_PX: Final = 56
BOTTOM_PX: Final = 40
LEFT_COLOUR: Final = (31, 119, 180)
RIGHT_COLOUR: Final = (217, 95, 14)
LINE_COLOUR: Final = (40, 70, 120)
LOST_COLOUR: Final = (236, 232, 226)
GRID_COLOUR: Final = (224, 224, 224)
_FINE: Final = 2
"""Everything is drawn so much larger and then reduced, which smooths the lines."""
MOVES: Final = 0.02
"""An attribute whose range is less does not move."""
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class _Row:
    name: str
    curves: tuple[tuple[NDArray[np.float64], tuple[int, int, int]], ...]
    """(N,) values to show and their colour, the later above."""
    low: float
    high: float
    unit: str


def plot(track: AttributeTrack, names: Iterable[str] = ALL_NAMES, title: str = "") -> NDArray[np.uint8]:
    """Draw a track.

    Angles are in degrees, the rest in its own range. Where both sides of the face move apart, the person's left is
    blue and the right orange. Times without a face are shaded.

    Args:
        track: to draw.
        names: of the attributes; those that hardly move are left out.
        title: stands above.

    Returns:
        (H, WIDTH_PX, 3) RGB.

    Raises:
        ConfigError: none of them moves.
    """
    chosen = set(names)
    rows = [row for name in ALL_NAMES if name in chosen and (row := _row(track, name)) is not None]
    if not rows:
        raise ConfigError("nothing to draw: none of these attributes moves in the table")
    height_px = TOP_PX + ROW_PX * len(rows) + BOTTOM_PX
    image = Image.new("RGB", (WIDTH_PX * _FINE, height_px * _FINE), PAPER)
    draw = ImageDraw.Draw(image)
    length_s = max(float(track.times_s[-1]), 1e-3)
    x_px = LABEL_PX + track.times_s / length_s * (WIDTH_PX - LABEL_PX - RIGHT_PX)
    _shade_lost(draw, track, x_px, TOP_PX, TOP_PX + ROW_PX * len(rows))
    _draw_times(draw, length_s, TOP_PX, TOP_PX + ROW_PX * len(rows))
    for i, row in enumerate(rows):
        _draw_row(draw, row, x_px, TOP_PX + ROW_PX * i)
    sided = any(len(row.curves) > 1 for row in rows)
    _draw_title(draw, title, track, length_s, sided, not track.present.all())
    reduced = image.resize((WIDTH_PX, height_px), Image.Resampling.BOX)
    return np.array(reduced, dtype=np.uint8)


def _row(track: AttributeTrack, name: str) -> _Row | None:
    """What the row of an attribute shows; None where it does not move, or is shown with another."""
    if name.endswith("_side") and name.removesuffix("_side") in SIDED:
        return None
    values = track.values[:, INDEX[name]].astype(np.float64)
    curves: tuple[tuple[NDArray[np.float64], tuple[int, int, int]], ...] = ((values, LINE_COLOUR),)
    if name in SIDED:
        half = track.values[:, INDEX[f"{name}_side"]].astype(np.float64) / 2
        if np.abs(half).max() > MOVES:
            right, left = np.clip(values - half, 0, 1), np.clip(values + half, 0, 1)
            curves = ((right, RIGHT_COLOUR), (left, LEFT_COLOUR))
    if max(np.ptp(curve) for curve, _ in curves) < MOVES:
        return None
    angle = degrees_of(name)
    if angle is not None:
        curves = tuple(((curve - angle[1]) * angle[0], colour) for curve, colour in curves)
    low = min(float(curve.min()) for curve, _ in curves)
    high = max(float(curve.max()) for curve, _ in curves)
    # Rest is always seen, and small movements do not look large.
    least = 10.0 if angle is not None else 0.2
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < least:
        low, high = (low, low + least) if low >= 0 else (min(low, -least / 2), max(high, least / 2))
    return _Row(name, curves, low, high, "°" if angle is not None else "")


def _draw_row(draw: ImageDraw.ImageDraw, row: _Row, x_px: NDArray[np.float64], top_px: float) -> None:
    bottom_px, height_px = top_px + ROW_PX - 7, ROW_PX - 16

    def y(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(bottom_px - (np.asarray(value) - row.low) / (row.high - row.low) * height_px)

    right_px = WIDTH_PX - RIGHT_PX
    zero_px = float(y(0.0))
    _line(draw, [(LABEL_PX, zero_px), (right_px, zero_px)], (190, 190, 190), 1)
    for curve, colour in row.curves:
        points = list(zip(x_px.tolist(), y(curve).tolist(), strict=True))
        _line(draw, points if len(points) > 1 else [*points, (right_px, points[0][1])], colour, 1.6)
    middle_px = top_px + ROW_PX / 2
    _text(draw, (14, middle_px - 9), row.name, 17)
    _text(draw, (14, middle_px + 10), MEANING[row.name], 13, FAINT)
    number = "{:.0f}" if row.unit or row.high - row.low >= 10 else "{:.2g}"
    ends = [value for value in (row.high, row.low) if value]
    if all(abs(float(y(value)) - zero_px) > 12 for value in ends):
        ends.append(0.0)
    for value in ends:
        _text(draw, (right_px + 8, float(y(value))), number.format(value) + row.unit, 12, FAINT)


def _shade_lost(
    draw: ImageDraw.ImageDraw,
    track: AttributeTrack,
    x_px: NDArray[np.float64],
    top_px: float,
    bottom_px: float,
) -> None:
    edges = np.flatnonzero(np.diff(track.present.astype(np.int8), prepend=1, append=1))
    for first, end in edges.reshape(-1, 2):
        right_px = x_px[min(int(end), len(x_px) - 1)]
        box = [x_px[first], top_px, max(right_px, x_px[first] + 1), bottom_px]
        draw.rectangle([float(edge) * _FINE for edge in box], fill=LOST_COLOUR)


def _draw_times(draw: ImageDraw.ImageDraw, length_s: float, top_px: float, bottom_px: float) -> None:
    step_s = next((step for step in _STEPS if length_s / step <= 12), 7200)
    for i in range(math.floor(length_s / step_s) + 1):
        x_px = LABEL_PX + i * step_s / length_s * (WIDTH_PX - LABEL_PX - RIGHT_PX)
        _line(draw, [(x_px, top_px), (x_px, bottom_px)], GRID_COLOUR, 1)
        _text(draw, (x_px, bottom_px + 14), f"{i * step_s:g}", 13, FAINT, "mm")
    _text(draw, (WIDTH_PX - RIGHT_PX + 8, bottom_px + 14), "seconds", 13, FAINT)


def _draw_title(
    draw: ImageDraw.ImageDraw, title: str, track: AttributeTrack, length_s: float, sided: bool, lost: bool
) -> None:
    _text(draw, (14, 26), title, 20)
    x_px = LABEL_PX + max(0.0, 14 + width_of(title, 20) + 24 - LABEL_PX)
    said = f"{len(track)} rows, {length_s:.1f} s, face seen in {100 * track.present.mean():.0f} %"
    _text(draw, (x_px, 27), said, 14, FAINT)
    keys = [("person's left", LEFT_COLOUR), ("right", RIGHT_COLOUR)] if sided else []
    keys += [("no face", LOST_COLOUR)] if lost else []
    x_px = WIDTH_PX - RIGHT_PX
    for name, colour in reversed(keys):
        x_px -= width_of(name, 14)
        _text(draw, (x_px, 27), name, 14, INK)
        x_px -= 24
        draw.rectangle([x_px * _FINE, 21 * _FINE, (x_px + 16) * _FINE, 33 * _FINE], fill=colour)
        x_px -= 20


def _line(
    draw: ImageDraw.ImageDraw,
    points: list[tuple[float, float]],
    colour: tuple[int, int, int],
    width_px: float,
) -> None:
    fine = [(x * _FINE, y * _FINE) for x, y in points]
    draw.line(fine, fill=colour, width=round(width_px * _FINE), joint="curve")


def _text(
    draw: ImageDraw.ImageDraw,
    at_px: tuple[float, float],
    text: str,
    size_px: int,
    colour: tuple[int, int, int] = INK,
    anchor: str = "lm",
) -> None:
    write(draw, (at_px[0] * _FINE, at_px[1] * _FINE), text, size_px * _FINE, colour, anchor)
