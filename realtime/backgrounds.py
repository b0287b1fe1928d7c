"""What may be shown behind the person: the photo's own room, sharp or blurred, a colour, another photo, or nothing.

This is the setting alone; `backdrop` does it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icface.errors import ConfigError

KINDS: Final = ("keep", "blur", "transparent")
KEY_COLOUR: Final = (0, 255, 0)
"""A green screen's: chroma keying takes it out. Shown where a sink has no transparency."""


@dataclass(frozen=True)
class Background:
    """A background that was asked for."""

    kind: str
    """`keep`, `blur`, `transparent`, `colour` or `photo`."""
    colour: tuple[int, int, int] = (0, 0, 0)
    """RGB, for `colour`."""
    path: Path | None = None
    """For `photo`."""


def read_background(text: str) -> Background:
    """Understand `--background`; raises ConfigError where it is nothing that is known."""
    if text in KINDS:
        return Background(text)
    if text.lower() == "green":  # a green screen's; CSS calls it lime
        return Background("colour", KEY_COLOUR)
    from PIL import ImageColor  # the command line imports this module, and must answer at once

    if text.lower() in ImageColor.colormap or re.fullmatch("#([0-9a-f]{3}|[0-9a-f]{6})", text.lower()):
        return Background("colour", ImageColor.getrgb(text)[:3])
    if text.startswith("#"):
        raise ConfigError(f"--background {text}: a colour is written as #rrggbb, such as #00ff00")
    if not os.path.isfile(text):  # Path.is_file fails where a name is too long
        raise ConfigError(
            f"--background {text}: neither a colour nor a file; give keep, blur, transparent, a colour such as "
            "green or #00ff00, or a photo"
        )
    return Background("photo", path=Path(text))
