"""Curls are taken up where they can be told from the room, and only there."""

from __future__ import annotations

import numpy as np

from icface.arrays import Frame
from icface.geometry.curls import with_curls
from icface.segmentation.segmenters import Mask

IOD = 80.0
CURL, LINE = np.s_[66:92, 50:52], np.s_[66:92, 150:152]


def scene(variation: float) -> tuple[Frame, Mask, Mask]:
    """Dark hair below a bright wall, and two dark lines that rise from it. The network takes one for hair, a little."""
    rng = np.random.default_rng(5)
    frame = np.clip(rng.normal(190, variation, (200, 200, 3)), 0, 255).astype(np.uint8)
    frame[100:] = frame[60:100, 50:52] = frame[60:100, 150:152] = 30
    hair = np.zeros((200, 200), dtype=np.float32)
    hair[100:] = 1
    hair[60:100, 40:62] = 0.1
    return frame, (hair == 1).astype(np.float32), hair


def test_a_curl_is_cut_out_and_a_line_of_the_room_is_not() -> None:
    frame, alpha, hair = scene(variation=2)
    found = with_curls(frame, alpha, hair, IOD)
    assert found[CURL].min() > 0.9
    assert found[LINE].max() == 0 and found[:50].max() == 0
    assert (found >= alpha).all()


def test_a_curl_that_does_not_reach_the_hair_stays() -> None:
    frame, alpha, hair = scene(variation=2)
    frame[85:100, 50:52] = frame[85:100, 45:47]
    assert with_curls(frame, alpha, hair, IOD)[:80].max() == 0


def test_nothing_is_taken_up_among_leaves() -> None:
    frame, alpha, hair = scene(variation=40)
    assert np.array_equal(with_curls(frame, alpha, hair, IOD), alpha)
