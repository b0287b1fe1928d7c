"""Each gate fades the correction where it should, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from icface.geometry.gates import BRIGHT_TEETH, GATES, Facts, frame_facts, photo_facts, strengths
from icface.geometry.patch import CONDITIONS, MEASURE_NAMES, MEASURES

GOOD = Facts(turned_deg=0.0, closure=1.0, iod_px=150.0, own_teeth=0.0)
"""A photo and a frame that no gate closes for: the eyes are shut."""


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (GOOD, (1, 1, 1)),
        (GOOD._replace(turned_deg=20), (1, 1, 1)),
        (GOOD._replace(turned_deg=25), (0.5, 0.5, 0.5)),
        (GOOD._replace(turned_deg=30), (0, 0, 0)),
        (GOOD._replace(turned_deg=80), (0, 0, 0)),
        (GOOD._replace(iod_px=60), (1, 1, 1)),
        (GOOD._replace(iod_px=50), (0.5, 0.5, 0.5)),
        (GOOD._replace(iod_px=40), (0, 0, 0)),
        (GOOD._replace(own_teeth=1), (1, 0.15, 1)),
        (GOOD._replace(rest_change=2.2), (1, 1, 1)),
        (GOOD._replace(rest_change=3.2), (1, 1, 0.5)),
        (GOOD._replace(rest_change=4.2), (1, 1, 0)),
        (GOOD._replace(closure=0.6), (1, 1, 1)),
        (GOOD._replace(closure=0.475), (0.5, 1, 1)),
        (GOOD._replace(closure=0.35), (0, 1, 1)),
        (GOOD._replace(closure=-0.5), (0, 1, 1)),  # wider open than in the photo
        (GOOD._replace(turned_deg=25, own_teeth=1, closure=0), (0, 0.075, 0.5)),
    ],
)
def test_strengths_by_hand(facts: Facts, expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(strengths(facts), expected, atol=1e-6)


def test_every_gate_says_why_it_is_there() -> None:
    assert len({gate.name for gate in GATES}) == len(GATES)
    for gate in GATES:
        assert gate.because and gate.fact in Facts._fields
        worst = strengths(GOOD._replace(**{gate.fact: gate.end}))
        np.testing.assert_allclose(worst, gate.left, atol=1e-6)


def test_what_a_frame_tells() -> None:
    told = np.zeros(CONDITIONS, dtype=np.float32)
    for side, gap, photo_gap in (("right", 0.02, 0.10), ("left", 0.09, 0.09)):
        place = MEASURE_NAMES.index(f"{side}_gap")
        told[place], told[MEASURES + place] = gap, photo_gap
    told[-1] = -0.5  # the sine of 30 degrees to one side
    facts = frame_facts(GOOD, told)
    assert facts.turned_deg == pytest.approx(30) and facts.closure == pytest.approx(0.8)
    assert facts.iod_px == GOOD.iod_px


def source(*, own: bool, level: int, scale: float = 2.0) -> dict[str, np.ndarray]:
    """What the gates read of a prepared photo; the mouth is painted in one level."""
    return {
        "iod_px": np.array(30, dtype=np.float32),
        "crop_to_photo": np.array([[scale, 0, 5], [0, scale, 9]], dtype=np.float64),
        "mouth_rows": np.array([100, 20, 30, 0.1, own], dtype=np.float32),
        "mouth_patch": np.array([4, 8, 60, 50], dtype=np.int32),
        "inner": np.full((70, 70, 3), level, dtype=np.uint8),
    }


@pytest.mark.parametrize(
    ("own", "level", "expected"),
    [(True, BRIGHT_TEETH + 30, 1), (True, BRIGHT_TEETH - 30, 0), (False, BRIGHT_TEETH + 30, 0)],
    ids=["a smile", "an O without teeth", "drawn teeth"],
)
def test_own_teeth_are_bright_and_photographed(own: bool, level: int, expected: float) -> None:
    assert photo_facts(source(own=own, level=level)).own_teeth == expected


def test_a_photo_that_no_network_has_seen_is_not_distrusted() -> None:
    photo = source(own=False, level=0)
    assert photo_facts(photo).rest_change == 0
    assert photo_facts({**photo, "rest_change": np.array(5, dtype=np.float32)}).rest_change == 5


def test_a_face_is_measured_in_pixels_of_the_photo() -> None:
    coarse = source(own=False, level=0, scale=3.0)
    assert photo_facts(coarse).iod_px == pytest.approx(90)
    # A picture as in a call may be larger than the photo, which is no finer for that.
    view = {**coarse, "view_scale": np.array(0.4, dtype=np.float32)}
    assert photo_facts(view).iod_px == pytest.approx(36)
