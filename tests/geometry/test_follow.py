"""How much hair and body follow the head, at heights whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from icface.geometry.follow import HAIR_ENDS, HAIR_LENGTH, HANG_HEIGHT, head_share, hung

BORDER = -1.8
"""Height of the crop's lower border."""


def share(x: float, y: float, hair: float, still_border: bool = False) -> float:
    return float(head_share(np.array(x), np.array(y), np.array(hair), BORDER, still_border))


def test_hair_below_the_mouth_moves_as_it_does_at_the_mouth() -> None:
    y = np.array([1.0, 0.0, -1.6, -2.4])
    assert hung(y, np.zeros(4)) == pytest.approx(y)
    assert hung(y, np.ones(4)) == pytest.approx([1.0, 0.0, HANG_HEIGHT, HANG_HEIGHT], abs=0.01)
    assert hung(y, np.full(4, 0.5))[3] == pytest.approx((-2.4 + HANG_HEIGHT) / 2, abs=0.01)


def test_the_face_follows_and_the_lower_border_does_not() -> None:
    assert share(0, -1.0, hair=0) == 1
    assert share(0, BORDER, hair=0) == 0
    # The shoulders beside the neck begin to stay where the neck still follows.
    assert share(1.4, -1.05, hair=0) < 0.6 and share(0.3, -1.05, hair=0) == 1
    # So does the neck below the ears, which would bulge out there. The jaw, .75 to the side, lies higher.
    assert share(0.7, -1.05, hair=0) < 0.9 and share(0.75, -0.6, hair=0) == 1


def test_hair_follows_down_to_its_ends() -> None:
    assert share(1.2, BORDER, hair=1) > 0.7
    assert share(1.2, HANG_HEIGHT - HAIR_LENGTH, hair=1) == pytest.approx(1 - HAIR_ENDS)
    assert share(1.2, BORDER, hair=0.5) == pytest.approx(share(1.2, BORDER, hair=1) / 2)
    assert share(1.2, BORDER, hair=1, still_border=True) == pytest.approx(0, abs=1e-6)
