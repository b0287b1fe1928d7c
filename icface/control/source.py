"""Where one attribute comes from, and its text form, the same in flags, files and the panel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from icface.errors import ConfigError

Kind = Literal["driver", "photo", "neutral", "value", "track", "oscillator"]
OSCILLATORS: Final = ("idle", "camera")
"""What makes numbers by itself: `idle` blinks, breathes and sways, `camera` looks into the camera."""


@dataclass(frozen=True)
class Source:
    """Where an attribute comes from. Use the functions below, or `Source.parse`."""

    kind: Kind
    number: int = 0
    """Of the driver, counted from 1."""
    value: float = 0.0
    """Of a fixed value, in the attribute's range."""
    name: str = ""
    """Of the track or the oscillator."""

    def __post_init__(self) -> None:
        if self.kind == "driver" and self.number < 1:
            raise ConfigError(f"driver {self.number}: drivers are counted from 1")
        if self.kind == "value" and not math.isfinite(self.value):
            raise ConfigError(f"{self.value} is no value; give a finite number")
        if self.kind == "track" and not self.name:
            raise ConfigError("a track needs its name or file: track NAME")
        if self.kind == "oscillator" and self.name not in OSCILLATORS:
            raise ConfigError(f"{self.name!r} is no oscillator; choose {' or '.join(OSCILLATORS)}")

    def __str__(self) -> str:
        if self.kind == "driver":
            return f"driver {self.number}"
        if self.kind == "value":
            return f"{self.value:.9g}"
        if self.kind == "track":
            return f"track {self.name}"
        return self.name or self.kind

    @classmethod
    def parse(cls, text: str) -> Source:
        """From `driver 1`, `photo`, `neutral`, `0.8`, `track NAME`, `idle` or `camera`.

        Raises:
            ConfigError: it is none of these.
        """
        word, _, rest = text.strip().partition(" ")
        if text.strip() in ("photo", "neutral"):
            return photo if text.strip() == "photo" else neutral
        if text.strip() in OSCILLATORS:
            return oscillator(text.strip())
        if word == "track":
            return track(rest.strip())
        try:
            return driver(int(rest)) if word == "driver" else value(float(text))
        except ValueError:
            raise ConfigError(
                f"{text!r} is no source; write driver N, photo, neutral, a number, track NAME, "
                f"{' or '.join(OSCILLATORS)}"
            ) from None


photo: Final = Source("photo")
"""The photo's own pose or expression."""
neutral: Final = Source("neutral")
"""Frontal, no expression."""


def driver(number: int) -> Source:
    """The driver of that number, counted from 1."""
    return Source("driver", number=number)


def value(fixed: float) -> Source:
    """A fixed value in the attribute's range."""
    return Source("value", value=float(fixed))


def track(name: str) -> Source:
    """A recorded track, by its name or file."""
    return Source("track", name=name)


def oscillator(name: str) -> Source:
    """One of OSCILLATORS."""
    return Source("oscillator", name=name)
