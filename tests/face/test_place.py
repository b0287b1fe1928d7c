"""Where the driver's head is against its rest: units, turning heads, calm, and the slow way of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from icface.attributes import FloatArray
from icface.face.landmarks import Landmarks
from icface.face.place import REST_TAU_S, Place

IOD_PX = 80.0
FPS = 30


def face(x: float = 320, y: float = 240, scale: float = 1.0, yaw_rad: float = 0.0) -> Landmarks:
    """Eye corners and cheeks of a head around a vertical axis through the middle between the cheeks."""
    points = np.zeros((478, 3), dtype=np.float32)
    half = IOD_PX / 2
    for number, at in (
        (33, (-half, -20, -30)),
        (263, (half, -20, -30)),
        (234, (-60, 0, 0)),
        (454, (60, 0, 0)),
    ):
        across, down, near = at
        turned = (
            across * np.cos(yaw_rad) + near * np.sin(yaw_rad),
            down,
            near * np.cos(yaw_rad) - across * np.sin(yaw_rad),
        )
        points[number] = np.array(turned) * scale + [x, y, 0]
    return Landmarks(points, (640, 480), np.zeros(52, dtype=np.float32))


def settled(place: Place, where: Landmarks, start_s: float, seconds: float = 1.0) -> FloatArray:
    """The place after that long in one pose."""
    last = np.zeros(3, dtype=np.float32)
    for i in range(round(seconds * FPS)):
        last = place.update(where, start_s + i / FPS)
    return last


def at_rest(seconds: float = 30.0) -> Place:
    place = Place()
    settled(place, face(), 0.0, seconds)
    return place


def test_at_rest_it_is_nothing() -> None:
    np.testing.assert_array_equal(settled(Place(), face(), 0.0), np.zeros(3))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (face(x=320 + 0.6 * IOD_PX), (0.4, 0, 0)),  # of 1.5 eye distances
        (face(y=240 - 0.3 * IOD_PX), (0, -0.2, 0)),
        (face(scale=2**0.25), (0, 0, 0.5)),  # of half an octave
    ],
)
def test_units(where: Landmarks, expected: tuple[float, float, float]) -> None:
    got = settled(at_rest(), where, 30.0)
    # In that second the rest followed by a twentieth.
    assert got == pytest.approx(np.array(expected) * np.exp(-1 / REST_TAU_S), abs=0.02)


def test_a_head_that_only_turns_stays_in_its_place() -> None:
    got = settled(at_rest(), face(yaw_rad=0.5), 30.0)
    assert np.abs(got).max() < 0.02


def test_a_jump_arrives_calmly_and_soon() -> None:
    place, moved = at_rest(), face(x=320 + 0.6 * IOD_PX)
    steps = np.diff([0.0, *(place.update(moved, 30 + i / FPS)[0] for i in range(15))])
    assert steps.max() < 0.4 * 0.2, "no frame takes more than a fifth of the way"
    assert steps.sum() > 0.4 * 0.9


def test_jitter_is_not_let_through() -> None:
    place, rng = at_rest(), np.random.default_rng(4)
    raw = rng.normal(0, 2.0, 300)
    got = [place.update(face(x=320 + x), 30 + i / FPS)[0] for i, x in enumerate(raw)]
    assert np.std(np.diff(got)) < 0.12 * np.std(np.diff(raw)) / (1.5 * IOD_PX)


def test_who_sits_elsewhere_for_long_is_at_rest_there() -> None:
    assert abs(settled(at_rest(), face(x=380), 30.0, 5 * REST_TAU_S)[0]) < 0.01


def test_rest_can_be_taken_anew() -> None:
    place = at_rest()
    settled(place, face(x=380), 30.0)
    place.set_rest()
    assert np.abs(settled(place, face(x=380), 31.1)).max() < 1e-6


def test_it_stays_in_range() -> None:
    assert settled(at_rest(), face(x=3000, scale=9), 30.0).tolist() == [1, 0, 1]
