"""Values as people write and read them."""

from __future__ import annotations

import math

import pytest

from icface.control.units import read_value, show_value
from icface.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("AU12", "0.8", 0.8),
        ("AU12_side", "-1", -1.0),
        ("yaw", "0.5", 0.5),
        ("yaw", "-12deg", 0.5 - math.radians(12) / 1.4),
        ("pitch", " 20 DEG", 0.5 + math.radians(20) / 1.4),
        ("gaze_yaw", "10°", math.radians(10) / 0.6),
    ],
)
def test_values_are_read_in_the_attribute_s_range(name: str, text: str, value: float) -> None:
    assert read_value(name, text) == pytest.approx(value)


def test_a_difference_of_no_degrees_is_none() -> None:
    assert read_value("yaw", "0deg", relative=True) == 0
    assert read_value("yaw", "-60deg", relative=True) == pytest.approx(-math.radians(60) / 1.4)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("AU12", "much", "is no number; write 0.8"),
        ("yaw", "nan", "-12deg for an angle"),
        ("AU12", "5deg", "is no angle"),
        ("AU12", "1.2", "must be 0 to 1"),
        ("yaw", "50deg", "which are -40° to 40°"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_right(name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_value(name, text)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("AU12", 0.8, "0.8"), ("AU12", 1 / 3, "0.33"), ("AU12_side", -0.001, "0"), ("yaw", 0.5, "0°"),
     ("yaw", 0.5 - math.radians(12) / 1.4, "-12°"), ("gaze_pitch", 1.0, "34°")],
)  # fmt: skip
def test_values_are_shown_short(name: str, value: float, shown: str) -> None:
    assert show_value(name, value) == shown
