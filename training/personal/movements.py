"""How one person's face moves, by least squares: a neutral shape, and displacements near the table's.

The rig draws neutral + Σ amount · displacement, with amounts that follow from the attributes. So the displacements that
draw the seen shapes best are a linear least-squares problem, with a ridge towards the displacements of everybody. What
was hardly seen stays everybody's. Nothing is mirrored, so a crooked smile comes out crooked.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Array
from icface.attributes import ACTION_UNITS, AU_NAMES, GAZE, GAZE_LIMIT_RAD, SHAPE_NAMES, SHAPES, FloatArray
from icface.geometry import topology as mesh
from icface.geometry.movement import moved, overlaps
from icface.geometry.person import laid_on
from icface.geometry.rig import asked_for
from icface.geometry.shape import close_lips
from icface.geometry.topology import face_tables

LEAST_FRAMES: Final = 20
"""Fewer tell no movement from the noise of the landmarks."""
RIDGES: Final = (3.0, 10.0, 30.0, 100.0)
"""Strengths that are tried: how many frames with a whole movement weigh as much as the table."""
AS_WELL: Final = 0.1
"""A ridge does as well as the best if its error is larger by no more than this share."""
RIDGE: Final = 30.0
"""Where there are too few frames to try any."""
NEUTRAL_RIDGE: Final = 0.5
"""The same for the first guess of the neutral shape."""
TRIED_FROM: Final = 60
PARTS: Final = 3
"""Into so many stretches of time the frames are cut; each is left out once."""
ROUNDS: Final = 2
SEEN_IN: Final = 6
HARDLY, WELL = 0.15, 0.5
"""A movement that fewer readings show by the first amount stays the table's. From the second on it is the person's."""
SHRINKS: Final = 0.5
"""A movement that was seen whole is smaller than the table's by this share at most, and one that was not by less."""
REACHED: Final = 0.3
"""A vertex that moves by this share of the vertex that moves most is free to move differently."""
FARTHEST: Final = 300.0
OPEN: Final = 0.25
"""Lids that are closed further tell nothing of other movements of the lids."""
CALM: Final = 25

BROWS: Final = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 46, 53, 52, 65, 55, 276, 283, 282, 295, 285)
MEASURED: Final = {
    "mouth": (*mesh.UPPER_LIP, *mesh.LOWER_LIP, 61, 78, 291, 308),
    "eyes": (*mesh.UPPER_LID, *mesh.LOWER_LID),
    "brows": BROWS,
}
"""Where the error of landmarks is measured."""
_AU45: Final = AU_NAMES.index("AU45")
_AUS: Final = len(AU_NAMES)
_UPPER_LIP: Final = np.array(mesh.UPPER_LIP)
_LOWER_LIP: Final = np.array(mesh.LOWER_LIP)
_OPENING: Final = [
    i for i, name in enumerate((*AU_NAMES, *SHAPE_NAMES)) if name in ("AU10", "AU22", "AU25", "AU26")
]
"""The movements that part the lips."""
_LIDS: Final = np.unique([vertex for rows in (*mesh.RIGHT_LIDS, *mesh.LEFT_LIDS) for vertex in rows])
_OTHERS: Final = np.setdiff1d(np.arange(mesh.FACE_VERTICES), _LIDS)


class Movements(NamedTuple):
    """A face and its movements in head space (IOD)."""

    neutral_shape: FloatArray
    """(468, 3), lips closed."""
    displacements: FloatArray
    """(17, 468, 3)"""
    extensions: FloatArray
    """(20, 468, 3)"""


def of_everybody(neutral_shape: FloatArray) -> Movements:
    """A face (468, 3) that moves by the table."""
    tables = face_tables()
    return Movements(neutral_shape, tables.displacements, tables.extensions)


def fit_movements(shapes: FloatArray, attributes: FloatArray, uncalibrated: FloatArray) -> Movements | None:
    """The person's own movements; None where there are too few frames.

    A tracker that takes another face for the resting one reads other attributes of the same frame: with an open mouth at
    rest, a laugh is less of a dropped jaw. So the movements have to do for two readings.

    Args:
        shapes: (n, 468, 3) head space, as seen, in the order of time.
        attributes: (n, SIZE) that were read of the same frames by a tracker that knows the person.
        uncalibrated: (n, SIZE) by one that does not.
    """
    if len(shapes) < LEAST_FRAMES:
        return None
    first = of_everybody(_calm_shape(shapes, attributes))
    both = np.stack([attributes, uncalibrated], axis=1).reshape(
        2 * len(shapes), -1
    )  # the same frame twice in a row
    knows = np.tile([1.0, 0.0], len(shapes))
    seen = _Seen(np.repeat(shapes, 2, axis=0), both, knows, *_amounts(both))
    return _fit(seen, first, _strength(seen, first))


def drawn(movements: Movements, attributes: FloatArray) -> FloatArray:
    """(n, 468, 3) the shapes that the rig draws by attributes (n, SIZE)."""
    neutral, displacements, extensions = movements
    displacements, extensions = displacements.reshape(_AUS, -1), extensions.reshape(len(extensions), -1)
    shapes = []
    for each in attributes:
        action_units, sides = asked_for(each, _NOTHING)
        gaze_rad = float(each[GAZE][0] * GAZE_LIMIT_RAD)
        shapes.append(moved(neutral, displacements, extensions, action_units, sides, gaze_rad))
    return np.stack(shapes)


def errors(movements: Movements, shapes: FloatArray, attributes: FloatArray) -> dict[str, float]:
    """Mean distance (IOD, from the front) of drawn and seen landmarks (n, 468, 3), for each part of `MEASURED`.

    The pose does not count: what a tracker tells of it is off by some degrees.
    """
    shown = drawn(movements, attributes)
    apart = np.linalg.norm((shown - laid_on(shapes, shown))[..., :2], axis=-1)
    return {name: float(apart[:, list(vertices)].mean()) for name, vertices in MEASURED.items()}


class _Seen(NamedTuple):
    shapes: FloatArray
    attributes: FloatArray
    knows: Array
    """(n,) 1 for readings of a tracker that knows the person's resting face, else 0."""
    amounts: Array
    """(n, 37) how much of each displacement the rig takes."""
    closed: Array
    """(n,) how far the eye that is closed further is."""

    def only(self, rows: NDArray[np.intp]) -> _Seen:
        return _Seen(*(part[rows] for part in self))  # type: ignore[arg-type]  # each part has its own type

    def evidence(self) -> Array:
        """(37,) 0 for movements that were hardly seen, 1 for those that were seen well."""
        shown = np.abs(np.hstack([self.attributes[:, ACTION_UNITS], self.attributes[:, SHAPES]]))
        largest = np.sort(shown, axis=0)[-min(SEEN_IN, len(shown))]
        return np.asarray(np.clip((largest.astype(np.float64) - HARDLY) / (WELL - HARDLY), 0, 1))


_NOTHING: Final = np.zeros(_AUS, dtype=np.float32)


def _amounts(attributes: FloatArray) -> tuple[Array, Array]:
    """The last two parts of `_Seen`."""
    amounts, closed = [], []
    for each in attributes:
        action_units, sides, closures = overlaps(*asked_for(each, _NOTHING))
        amounts.append(np.concatenate([action_units, sides]))
        closed.append(max(closures))
    return np.array(amounts, dtype=np.float64), np.array(closed)


def _calm_shape(shapes: FloatArray, attributes: FloatArray) -> FloatArray:
    """The median shape of the calmest frames, lips closed. A blink is calm enough: it moves nothing else."""
    amounts, _ = _amounts(attributes)  # AU45 is done apart, so it is 0 here
    turned = np.abs(attributes[:, :3] - 0.5).sum(axis=1)
    order = np.argsort(np.abs(amounts).sum(axis=1) + 4 * turned, kind="stable")
    return close_lips(np.median(shapes[order[:CALM]], axis=0).astype(np.float32))


def _strength(seen: _Seen, first: Movements) -> float:
    """The strongest ridge with which frames that were left out are drawn about as well as with the best.

    The strongest, because frames to come show poses that none of these has.
    """
    count = len(seen.shapes)
    if count < 2 * TRIED_FROM:
        return RIDGE
    parts = np.array_split(np.arange(count), PARTS)
    found = np.zeros(len(RIDGES))
    for part in parts:
        rest, left_out = seen.only(np.setdiff1d(np.arange(count), part)), seen.only(part)
        for i, ridge in enumerate(RIDGES):
            fitted = _fit(rest, first, ridge, rounds=1)
            found[i] += sum(errors(fitted, left_out.shapes, left_out.attributes).values())
    return RIDGES[int(np.flatnonzero(found <= (1 + AS_WELL) * found.min())[-1])]


def _fit(seen: _Seen, first: Movements, ridge: float, rounds: int = ROUNDS) -> Movements:
    table = np.concatenate([first.displacements, first.extensions]).astype(np.float64)
    evidence = seen.evidence()
    amounts = np.where(evidence == 0, 0.0, seen.amounts)
    ridges = ridge * _reluctance() / np.maximum(evidence, 0.05) ** 2
    result = first
    for _ in range(rounds):
        # Lids and lips that meet are no linear movement. What they add is taken from the frames first.
        whole = np.concatenate([result.displacements, result.extensions])
        shown = drawn(result, seen.attributes)
        shapes = laid_on(seen.shapes, shown)
        added = shown - result.neutral_shape - np.tensordot(seen.amounts, whole, axes=1)
        left = shapes - added - first.neutral_shape - np.tensordot(seen.amounts, table, axes=1)
        # First both together. The lips of the neutral shape are closed then, and the movements follow from that.
        # A tracker that does not know the resting face reads something in it. What that draws is not learned.
        with_rest = np.column_stack([amounts, 1 - seen.knows, np.ones(len(amounts))])
        of_rest = np.full((mesh.FACE_VERTICES, 2), NEUTRAL_RIDGE)
        *_, unknown, off = _solved(with_rest, left, np.hstack([ridges, of_rest]), seen.closed)
        neutral = close_lips((first.neutral_shape + off).astype(np.float32))
        # Frames are turned onto what is drawn, so the neutral shape must not turn from round to round.
        neutral = laid_on(neutral, first.neutral_shape)
        left += first.neutral_shape - neutral - (1 - seen.knows)[:, None, None] * unknown
        whole = _at_least(table, table + _solved(amounts, left, ridges, seen.closed), evidence).astype(
            np.float32
        )
        result = Movements(neutral, whole[:_AUS], whole[_AUS:])
    return result


def _at_least(table: Array, own: Array, evidence: Array) -> Array:
    """Displacements (37, 468, 3) of which none falls far below the table's in its own direction.

    Readings tremble, and least squares takes what trembles for a movement that moves little.
    """
    share = (own * table).sum(axis=(1, 2)) / (table**2).sum(axis=(1, 2))
    lacking = np.maximum(0, 1 - SHRINKS * evidence - share)
    return np.asarray(own + lacking[:, None, None] * table)


@cache
def _reluctance() -> Array:
    """(468, 37) 1 where a movement moves a vertex of everybody's face far, and up to FARTHEST where it does not.

    Who laughs screws up the eyes, too. So both are seen at once, and yet a laugh shall not move the lids.
    """
    tables = face_tables()
    reach = np.linalg.norm(np.concatenate([tables.displacements, tables.extensions]), axis=2).astype(
        np.float64
    )
    reach /= reach.max(axis=1, keepdims=True)
    return np.asarray(np.minimum(FARTHEST, (REACHED / np.maximum(reach, 1e-6)) ** 2).clip(1.0).T)


def _solved(factors: Array, left: Array, ridges: Array, closed: Array) -> Array:
    """(k, 468, 3) so that factors (n, k) times it come near to what is left (n, 468, 3); ridges (468, k)."""
    count = ridges.shape[1]
    result = np.empty((count, mesh.FACE_VERTICES, 3))
    for vertices, used in ((_OTHERS, closed >= 0), (_LIDS, closed < OPEN)):
        rows = factors[used]
        wanted = np.tensordot(rows.T, left[used][:, vertices], axes=1)
        normal = rows.T @ rows + ridges[vertices, None, :] * np.eye(count)
        result[:, vertices] = np.linalg.solve(normal, wanted.transpose(1, 0, 2)).transpose(1, 0, 2)
    # Who is seen to smile with open lips alone does not open them by smiling.
    gap = left[:, _UPPER_LIP, 1] - left[:, _LOWER_LIP, 1]
    rows, ridge = factors[:, _OPENING], np.diag(ridges[_LOWER_LIP[0], _OPENING])
    opened = np.zeros((count, len(_UPPER_LIP)))
    opened[_OPENING] = np.linalg.solve(rows.T @ rows + ridge, rows.T @ gap)
    middle = (result[:, _UPPER_LIP, 1] + result[:, _LOWER_LIP, 1]) / 2
    result[:, _UPPER_LIP, 1], result[:, _LOWER_LIP, 1] = middle + opened / 2, middle - opened / 2
    return result
