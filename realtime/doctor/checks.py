"""The table of checks, in the order in which they are made. Another check is another line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from realtime.doctor import Finding


@dataclass(frozen=True)
class Check:
    """A check: where its generator of findings is, and how long it may take."""

    module: str
    function: str
    bound_s: float

    def find(self) -> Iterator[Finding]:
        """Make the check. What it loads is loaded now, so a library that does not load is a finding."""
        make: Callable[[], Iterator[Finding]] = getattr(
            importlib.import_module(f"realtime.doctor.{self.module}"), self.function
        )
        yield from make()


CHECKS: Final = {
    "versions": Check("installed", "versions", 60),
    "folders": Check("installed", "folders", 60),
    "models": Check("installed", "models", 60),
    "camera": Check("devices", "cameras", 60),
    "virtual-camera": Check("devices", "virtual_camera", 60),
    "screen": Check("devices", "screen", 60),
    "tracker": Check("models", "tracker", 60),
    "engine": Check("models", "engines", 300),
}
