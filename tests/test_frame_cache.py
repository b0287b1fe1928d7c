"""Frames kept by rounded attributes."""

from __future__ import annotations

import numpy as np
import pytest

from icface.attributes import INDEX, POSE_LIMIT_RAD, neutral
from icface.frame_cache import FrameCache, rounded


def frame(value: int, side: int = 10) -> np.ndarray:
    return np.full((side, side, 3), value, dtype=np.uint8)


def test_attributes_are_rounded_to_a_quarter_of_a_degree_and_a_64th() -> None:
    values = neutral()
    values[INDEX["yaw"]] = 0.5 + np.radians(10.1) / (2 * POSE_LIMIT_RAD)
    values[INDEX["AU12"]] = 0.51
    found = rounded(values)
    yaw_deg = np.degrees((found[INDEX["yaw"]] - 0.5) * 2 * POSE_LIMIT_RAD)
    assert yaw_deg == pytest.approx(10.0, abs=0.06)  # steps of .25°, as nearly as they divide the range
    assert found[INDEX["AU12"]] == 33 / 64  # .51 × 64 = 32.6
    assert found.dtype == np.float32 and found.shape == (20,)


def test_neutral_and_the_ends_of_the_range_stay_what_they_are() -> None:
    for values in (neutral(), np.zeros(20, dtype=np.float32), np.ones(20, dtype=np.float32)):
        np.testing.assert_array_equal(rounded(values), values)


def test_what_is_kept_is_found_and_does_not_change_with_its_original() -> None:
    cache = FrameCache(1000)
    original = frame(7)
    cache.keep("a", original)
    original[:] = 9
    found = cache.find("a")
    assert found is not None and (found == 7).all()
    assert cache.find("b") is None


def test_the_longest_unused_goes_first_and_the_limit_holds() -> None:
    cache = FrameCache(650)  # two frames of 300 bytes
    cache.keep("a", frame(1))
    cache.keep("b", frame(2))
    assert cache.find("a") is not None  # so b is the older one now
    cache.keep("c", frame(3))
    assert cache.find("b") is None and cache.find("a") is not None and cache.find("c") is not None
    assert cache.used_bytes == 600 and len(cache) == 2
    cache.keep("d", frame(4, side=14))  # 588 bytes: alone
    assert len(cache) == 1 and cache.used_bytes == 588


def test_one_key_is_kept_once() -> None:
    cache = FrameCache(650)
    for value in (1, 2, 3):
        cache.keep("a", frame(value))
    found = cache.find("a")
    assert found is not None and (found == 3).all() and cache.used_bytes == 300


def test_a_frame_larger_than_all_is_not_kept() -> None:
    cache = FrameCache(299)
    cache.keep("a", frame(1))
    assert cache.find("a") is None and cache.used_bytes == 0
