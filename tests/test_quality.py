"""PSNR by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from icface.quality import psnr_db, psnr_of_error_db


def test_equal_arrays_are_infinitely_close() -> None:
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert psnr_db(frame, frame) == math.inf


def test_by_hand() -> None:
    """One value of four is off by 4: the squared error is 4, and 10 · log10(255² / 4) = 42.11."""
    expected = np.array([10, 20, 30, 40], dtype=np.uint8)
    assert psnr_db(expected + np.array([0, 4, 0, 0], np.uint8), expected) == pytest.approx(42.11, abs=0.005)
    assert psnr_of_error_db(4.0) == pytest.approx(42.11, abs=0.005)


def test_levels_do_not_wrap_round() -> None:
    """0 against 255 is the largest error there is, in either order."""
    black, white = np.zeros(3, dtype=np.uint8), np.full(3, 255, dtype=np.uint8)
    assert psnr_db(black, white) == psnr_db(white, black) == 0.0


def test_the_range_of_the_values_counts() -> None:
    """An error of .1 in a range of 1: 20 dB."""
    assert psnr_db(np.full(3, 0.6), np.full(3, 0.5), peak=1.0) == pytest.approx(20.0)
