"""Which frames of a person can be sources: calm, frontal, eyes open, and nothing before the face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from icface.attributes import ACTION_UNITS, INDEX, POSE, FloatArray
from icface.errors import ConfigError
from icface.geometry import topology as mesh
from training.personal.frames import ChosenFrame

APART_S: Final = 0.3
"""Sources are at least so far apart."""
NEAR_S: Final = 0.6
"""A hand that covers a face hangs below it so long before and after."""
COVERED: Final = 22.0
"""From this oddness on something is before the face: it is 3 to 20 in one light, and 23 to 40 with a hand."""
_MOVING: Final = {
    *mesh.INNER_UPPER_LIP,
    *mesh.INNER_LOWER_LIP,
    *mesh.OVAL,
    *(vertex for rows in (mesh.LEFT_LIDS, mesh.RIGHT_LIDS) for row in rows for vertex in row),
}
_SKIN: Final = [vertex for vertex in range(mesh.FACE_VERTICES) if vertex not in _MOVING]
_SMOOTH_IOD: Final = 0.03
_MOST_ODD: Final = 5
"""A fifth of the vertices decides: a hand covers no more of a face."""


def calm_frames(frames: Sequence[ChosenFrame], count: int) -> list[int]:
    """The frames that are best as a source, the best one first; none that is held.

    Raises:
        ConfigError: all are held, or there are none.
    """
    free = [number for number, frame in enumerate(frames) if not frame.held]
    if not free:
        raise ConfigError("no frame is left to learn from; choose frames of more of the video")
    odd = oddness(frames)
    covered = [frames[n] for n in np.flatnonzero(odd > COVERED).tolist()]
    near = [any(not _apart(frame, other, NEAR_S) for other in covered) for frame in frames]
    order = sorted(free, key=lambda n: (near[n], restlessness(frames[n]) + 0.05 * odd[n]))
    chosen: list[int] = []
    for number in order:
        if len(chosen) < count and all(_apart(frames[number], frames[other], APART_S) for other in chosen):
            chosen.append(number)
    return chosen


def restlessness(frame: ChosenFrame) -> float:
    """How far a face is from one that looks ahead without expression; 0 is the least."""
    turn = float(np.abs(frame.attributes[POSE] - 0.5).sum())
    units = frame.attributes[ACTION_UNITS]
    more = float(frame.attributes[INDEX["AU45"]] + frame.attributes[INDEX["AU25"]])
    return float(units.sum()) + more + 8 * turn


def oddness(frames: Sequence[ChosenFrame]) -> FloatArray:
    """(n,) how much each face's skin differs from how this person mostly looks, in percent of its brightness.

    Colours are read at the mesh's vertices, so that pose and expression hardly count. A hand before the face does.
    """
    colours = np.stack([_colours(frame) for frame in frames])
    differ = np.abs(colours - np.median(colours, axis=0)).mean(axis=2)
    worst = np.sort(differ, axis=1)[:, -(len(_SKIN) // _MOST_ODD) :]
    return np.asarray(worst.mean(axis=1), dtype=np.float32)


def _colours(frame: ChosenFrame) -> FloatArray:
    """(v, 3) of the skin's vertices; their median is 100."""
    eyes = frame.points_px[[33, 263], :2]
    low = np.floor(frame.points_px[: mesh.FACE_VERTICES, :2].min(axis=0)).astype(int).clip(0)
    high = np.ceil(frame.points_px[: mesh.FACE_VERTICES, :2].max(axis=0)).astype(int) + 2
    face = frame.picture[low[1] : high[1], low[0] : high[0]]
    smooth = cv2.GaussianBlur(face, (0, 0), max(0.5, _SMOOTH_IOD * float(np.hypot(*(eyes[1] - eyes[0])))))
    places = (frame.points_px[_SKIN, :2] - low).astype(np.float32)
    x, y = places[None, :, 0], places[None, :, 1]
    read = cv2.remap(smooth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.asarray(read / np.maximum(np.median(read, axis=0), 1) * 100, dtype=np.float32)


def _apart(one: ChosenFrame, other: ChosenFrame, seconds: float) -> bool:
    return one.video != other.video or abs(one.time_s - other.time_s) >= seconds
