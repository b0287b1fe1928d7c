"""The exceptions a user may meet. Each carries one line: what failed, the values, what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean NAME?)` for the one of `names` that is most like what was written, or nothing."""
    known = {each.lower(): each for each in names}
    written = name.lower()
    padded = re.sub(r"(?<!\d)(\d)(?!\d)", r"0\1", written)  # AU2 is AU02
    begins = (
        [padded]
        if padded in known
        else [each for each in known if len(written) > 3 and each.startswith(written)]
    )
    close = begins or get_close_matches(written, known, n=1, cutoff=0.6)
    return f" (did you mean {known[close[0]]}?)" if close else ""


class ICFaceError(Exception):
    """Base of all errors that end in one `error:` line; `exit_code` is what the command returns."""

    exit_code = 1


class ConfigError(ICFaceError):
    """A flag, setting or input table that cannot be used as given."""

    exit_code = 2


class SourceError(ICFaceError):
    """A photo that cannot become a source: unreadable, without a face, too large."""


class BundleError(ICFaceError):
    """A model bundle that is missing, damaged, tampered with or of an unknown version."""


class EngineError(ICFaceError):
    """An inference engine that is not installed, did not load or gave wrong results."""


class NotBuiltError(EngineError):
    """An engine that runs only after it was built, and was not yet."""


class RefusedError(EngineError):
    """An engine whose frames, when it was built, were too far from those of float32."""


class DeviceError(ICFaceError):
    """A camera or an output device that is missing, busy, or stopped working."""
