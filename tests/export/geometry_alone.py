"""The edge bundle without a network: its frames can be computed by hand."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from export.pack_edge import pack
from tests.export import models  # noqa: F401 - it lets torch write several graphs in less time


@cache
def geometry_alone() -> Path:
    """Its folder, packed once a process. It takes seconds."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pack(folder / "edge.icface").path
