"""Values of attributes as people write and read them: angles in degrees, everything else in its own range."""

from __future__ import annotations

import math
from typing import Final

from icface.attributes import GAZE_LIMIT_RAD, GAZE_NAMES, INDEX, LOWEST, POSE_LIMIT_RAD, POSE_NAMES
from icface.errors import ConfigError

_DEGREES: Final = ("deg", "°")


def degrees_of(name: str) -> tuple[float, float] | None:
    """(degrees of one unit, unit at 0 degrees) of an angle; None for an attribute that is none."""
    if name in POSE_NAMES:
        return math.degrees(2 * POSE_LIMIT_RAD), 0.5
    return (math.degrees(GAZE_LIMIT_RAD), 0.0) if name in GAZE_NAMES else None


def read_value(name: str, text: str, *, relative: bool = False) -> float:
    """`0.8`, or `-12deg` of an angle, in the attribute's range.

    Args:
        name: of the attribute.
        text: what was written.
        relative: it is to be added, so that 0 degrees are 0, and any number will do.

    Raises:
        ConfigError: no number, degrees of what is no angle, out of range.
    """
    unit = next((unit for unit in _DEGREES if text.strip().lower().endswith(unit)), "")
    angle = degrees_of(name)
    try:
        value = float(text.strip()[: -len(unit) or None])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        example = "0.8, or -12deg for an angle" if angle else "0.8"
        raise ConfigError(f"{name}={text}: {text!r} is no number; write {example}")
    if unit and angle is None:
        raise ConfigError(f"{name}={text}: {name} is no angle; give a number of its range, without {unit}")
    if unit and angle is not None:
        value = value / angle[0] + (0.0 if relative else angle[1])
    lowest = float(LOWEST[INDEX[name]])
    if not relative and not lowest <= value <= 1:
        what = f"{lowest:g} to 1"
        if angle is not None:
            what += f", which are {show_value(name, lowest)} to {show_value(name, 1.0)}"
        raise ConfigError(f"{name}={text} is out of range; it must be {what}")
    return value


def show_value(name: str, value: float) -> str:
    """The value for people: `-12°` of an angle, `0.8` of another."""
    angle = degrees_of(name)
    if angle is None:
        return f"{round(value, 2) + 0:g}"
    degrees = (value - angle[1]) * angle[0]
    return f"{round(degrees) + 0:d}°"
