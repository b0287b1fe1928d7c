"""`icface-live doctor`: looks at everything that a run needs, and says what to do where something fails.

| File | Holds |
|---|---|
| `checks.py` | the checks: a generator of findings each, and the table of them |
| `running.py` | runs each check in a process of its own, within its time |
| `command.py` | the command: flags, the table that is printed, JSON, the exit code |
"""

from __future__ import annotations

from typing import Final

import msgspec

OK: Final = "ok"
NOTE: Final = "note"
"""Something that not every run needs is missing, or is not as good as it could be."""
FAILED: Final = "failed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found: a line of the table."""

    check: str
    state: str
    """OK, NOTE or FAILED."""
    found: str
    remedy: str = ""
    """What to do; empty where nothing has to be done."""
