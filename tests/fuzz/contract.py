"""What holds for every input, whatever it is.

The product gives a result or one of its own errors in one line. It does not hang, does not take memory without a bound,
and neither writes outside of its folder nor starts a program nor opens a connection.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from icface.errors import ICFaceError

TIMEOUT_S: Final = 60.0
"""An input that takes longer hangs. The process ends then and prints where it was, because C code cannot be stopped."""
MAX_BYTES: Final = 3_000_000_000
"""Of memory that is added while an input is read: the largest photo in the making, and something to spare."""
_PROGRAMS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile")
_CONNECTIONS: Final = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo")
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_folder: Path | None = None
"""Where an input may have files written, while one is read."""


class Broken(AssertionError):
    """The contract does not hold."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _folder is None:
        return
    if event in _PROGRAMS or event in _CONNECTIONS:
        raise Broken(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[0], (str, bytes)) and (arguments[2] or 0) & _WRITES:
        path = Path(os.path.realpath(os.fsdecode(arguments[0])))
        if not path.is_relative_to(_folder) and path != Path(os.devnull) and "__pycache__" not in path.parts:
            raise Broken(f"{path} is written, outside of {_folder}")


_watched = False


@contextlib.contextmanager
def holding(folder: Path | None = None) -> Iterator[None]:
    """Read one input inside of the block; Broken where the contract does not hold. Our own errors end the block."""
    global _folder, _watched
    if not _watched:  # such a hook is never taken off again
        sys.addaudithook(_watch)
        _watched = True
    before = _memory_bytes()
    _folder = Path(os.path.realpath(folder or tempfile.gettempdir()))
    faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
    try:
        yield
    except ICFaceError as error:
        if "\n" in str(error) or not str(error).strip():
            raise Broken(f"{type(error).__name__} is not one line: {error!r}") from error
    except Broken:
        raise
    except Exception as error:
        raise Broken(f"{type(error).__name__} instead of one of our errors: {error}") from error
    finally:
        faulthandler.cancel_dump_traceback_later()
        _folder = None
    if _memory_bytes() - before > MAX_BYTES:
        raise Broken(f"{(_memory_bytes() - before) / 1e9:.1f} GB of memory were taken")


def _memory_bytes() -> int:
    """The most that this process ever had; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
