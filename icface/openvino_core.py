"""The process's one `openvino.Core`, which the face tracker and the engines share."""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Any, Final, cast

# OpenVINO tells its makers of every import, over the network and unasked. It goes without where its package for that
# cannot be imported. All imports of OpenVINO come after this line.
cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)

_OPENING: Final = threading.Lock()


def the_core() -> Any:
    """The Core, made at the first call and kept for the process's whole life. Settings go to `compile_model`.

    On CPUs with AMX a Core gives the thread that makes it a stack for signals, and restores the previous one when it
    is destroyed. Where two are not destroyed in the opposite order, or on another thread, a thread keeps a freed stack.
    Then its next signal, as Ctrl-C, kills the process.
    """
    with _OPENING:
        return _core()


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()
