"""Tracks of attributes, edited: each function gives a new track.

Tracks have a constant rate, as `realtime.drivers.table.load_table` gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import ALL_NAMES, INDEX, AttributeTrack, FloatArray, in_range, neutral
from icface.errors import ConfigError

FWHM: Final = 2 * math.sqrt(2 * math.log(2))
"""Width of a Gaussian at half its height, in standard deviations."""
_ROUNDING_S: Final = 1e-6
"""Of the times in a file."""


def cut(track: AttributeTrack, start_s: float = 0.0, end_s: float | None = None) -> AttributeTrack:
    """The rows from `start_s` to before `end_s` (None: to the end). The first row that is left is at 0.

    Raises:
        ConfigError: the range runs backwards, or no row is left.
    """
    if end_s is not None and end_s <= start_s:
        raise ConfigError(f"from {start_s:g} s to {end_s:g} s runs backwards; the end must be later")
    kept = track.times_s > start_s - _ROUNDING_S
    if end_s is not None:
        kept &= track.times_s < end_s - _ROUNDING_S
    if not kept.any():
        asked = f"from {start_s:g} s" + ("" if end_s is None else f" to {end_s:g} s")
        raise ConfigError(f"nothing is left {asked}; the track ends at {track.times_s[-1]:.2f} s")
    times_s = track.times_s[kept]
    return replace(
        track, times_s=times_s - times_s[0], values=track.values[kept], present=track.present[kept]
    )


def scaled(
    track: AttributeTrack, names: Iterable[str], gain: float = 1.0, offset: float = 0.0
) -> AttributeTrack:
    """`rest + gain * (value - rest) + offset` of some attributes, within their ranges. The rest is neutral.

    The gain of AUxx is that of AUxx_side as well. An offset moves both sides.
    """
    chosen = tuple(names)
    places, rest = _with_sides(chosen), neutral()
    values = track.values.copy()
    values[:, places] = rest[places] + gain * (values[:, places] - rest[places])
    values[:, [INDEX[name] for name in chosen]] += offset
    return replace(track, values=in_range(values))


def smoothed(track: AttributeTrack, names: Iterable[str], width_s: float) -> AttributeTrack:
    """Some attributes, and their sides, without what is quicker than `width_s`. Nothing comes later than it did.

    A Gaussian whose width at half its height is `width_s`. Beyond its ends the track stands still.
    """
    sigma = width_s / FWHM * rate(track)
    values, places = track.values.copy(), _with_sides(names)
    reach = min(math.ceil(4 * sigma), 20 * len(track))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    kernel /= kernel.sum()
    for place in places:
        padded = np.pad(values[:, place].astype(np.float64), reach, mode="edge")
        values[:, place] = np.convolve(padded, kernel, mode="valid")
    return replace(track, values=values)


def merged(
    base: AttributeTrack, taken: Sequence[tuple[Iterable[str], AttributeTrack]], shift_s: float = 0.0
) -> AttributeTrack:
    """The track `base`, with some attributes and their sides from other tracks, for as long as all of them last.

    Args:
        base: gives the times, and all else.
        taken: pairs of names and the track they are taken from, read between its rows where times differ.
        shift_s: those tracks begin so much later than `base`; earlier where it is negative.

    Raises:
        ConfigError: they have no time in common.
    """
    end_s = min(float(other.times_s[-1]) for _, other in taken) + shift_s
    kept = (base.times_s > shift_s - _ROUNDING_S) & (base.times_s < end_s + _ROUNDING_S)
    if not kept.any():
        raise ConfigError(
            f"the tables have no time in common: the first ends at {base.times_s[-1]:.2f} s, the others last from "
            f"{shift_s:.2f} s to {end_s:.2f} s; change --shift"
        )
    times_s, values, present = base.times_s[kept], base.values[kept].copy(), base.present[kept]
    for names, other in taken:
        places = _with_sides(names)
        values[:, places] = _at(other, times_s - shift_s)[:, places]
        present = present & other.present[_nearest(other, times_s - shift_s)]
    return replace(base, times_s=times_s - times_s[0], values=values, present=present)


def resampled(track: AttributeTrack, fps: float) -> AttributeTrack:
    """The same at another rate. What a lower rate cannot show is smoothed away first."""
    if fps < rate(track):
        track = smoothed(track, ALL_NAMES, 1 / fps)
    count = math.floor(track.times_s[-1] * fps + 0.5) + 1
    times_s = np.arange(count) / fps
    return replace(
        track, times_s=times_s, values=_at(track, times_s), present=track.present[_nearest(track, times_s)]
    )


def rate(track: AttributeTrack) -> float:
    """Rows a second; 25 of a single row."""
    length_s = float(track.times_s[-1])
    return (len(track) - 1) / length_s if length_s > 0 else 25.0


def _with_sides(names: Iterable[str]) -> list[int]:
    """Places of attributes in the vector, with those of their `_side`."""
    wanted = {side for name in names for side in (name, f"{name}_side")}
    return [INDEX[name] for name in ALL_NAMES if name in wanted]


def _at(track: AttributeTrack, times_s: NDArray[np.float64]) -> FloatArray:
    """(M, SIZE) values at times (M,), by straight lines between the rows."""
    columns = [np.interp(times_s, track.times_s, column) for column in track.values.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _nearest(track: AttributeTrack, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """(M,) the row nearest to each time (M,)."""
    after = np.searchsorted(track.times_s, times_s).clip(1, max(1, len(track) - 1))
    before = after - 1
    nearer = times_s - track.times_s[before] > track.times_s[after.clip(max=len(track) - 1)] - times_s
    return np.asarray(np.where(nearer, after, before).clip(0, len(track) - 1))
