"""Runs a check in a process of its own, within its time.

A driver that hangs or crashes costs one line then, and not the command. A process that does not end is killed and told
of; nobody waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from icface.errors import ICFaceError
from realtime.doctor import FAILED, Finding
from realtime.doctor.checks import CHECKS
from realtime.slot import Closed, Lane, filling

END_S: Final = 5.0
"""A process has so much time to end after its last finding."""
_CHILD: Final = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from realtime.doctor.running import serve
serve(sys.argv[2])
"""


def command_of(check: str) -> list[str]:
    """The command of a check's process. It finds `realtime` where this process found it, and nowhere else."""
    root = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-P", "-c", _CHILD, root, check]


def findings_of(
    check: str, bound_s: float, command: Callable[[str], list[str]] = command_of
) -> Iterator[Finding]:
    """Run a check and give what it finds, each finding as soon as it is there; at least one, and within the bound."""
    with tempfile.TemporaryFile() as chatter:
        try:
            process = subprocess.Popen(
                command(check), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=chatter
            )
        except OSError as error:
            yield _failed(
                check, f"its process cannot be started ({error.strerror or error})", "end other programs"
            )
            return
        assert process.stdout is not None
        lines: Lane[bytes] = Lane(100)
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        try:
            yield from _findings(check, bound_s, process, lines, chatter)
        finally:
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # a driver holds it: it is left behind
                    process.wait(1.0)


def _findings(
    check: str, bound_s: float, process: subprocess.Popen[bytes], lines: Lane[bytes], chatter: IO[bytes]
) -> Iterator[Finding]:
    ends_s = time.monotonic() + bound_s
    count = 0
    while True:
        try:
            line = lines.get(max(0.0, ends_s - time.monotonic()))
        except Closed:
            break
        if line is None:
            why, remedy = (
                "this machine is busy, or slow",
                f"end other programs; then: icface-live doctor {check}",
            )
            if CHECKS[check].module == "devices":
                why, remedy = "a driver hangs", "unplug the device, or start the machine again"
            yield _failed(check, f"it did not end within {bound_s:.0f} s; {why}", remedy)
            return
        try:
            finding = msgspec.json.decode(line, type=Finding)
        except msgspec.DecodeError:
            break  # it was killed while it wrote
        count += 1
        yield finding
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    if process.returncode or not count:
        chatter.seek(0)
        words = chatter.read().decode(errors="replace").strip().splitlines()
        last = f": {words[-1]}" if words else ""
        died = f"its process died (code {process.returncode}){last}"
        yield _failed(check, died, "update the driver or the library that it used, and icface-live")


def _read(stream: IO[bytes], lines: Lane[bytes]) -> None:
    """Hand over lines until the process has ended. It is the body of a thread."""
    with filling(lines), stream:
        for line in stream:
            lines.put(line)


def _failed(check: str, found: str, remedy: str = "") -> Finding:
    return Finding(check=check, state=FAILED, found=found, remedy=remedy or "install icface-live again")


# In the process of a check


def serve(name: str) -> None:
    """Make one check and print each finding as a line of JSON."""
    # As a run does, because OpenBLAS reads it when numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logging.disable(logging.WARNING)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no part of the answer
        for finding in caught(name, CHECKS[name].find):
            print(msgspec.json.encode(finding).decode(), file=answer, flush=True)
        # A thread that a driver holds, and libraries that wait for it, must not keep the process.
        answer.flush()
        os._exit(0)


def caught(name: str, find: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds. An exception is a finding, too."""
    try:
        yield from find()
    except ICFaceError as error:
        found, _, remedy = str(error).partition("; ")
        yield _failed(name, found, remedy)
    except MemoryError:
        yield _failed(name, "the memory of this machine is used up", "end other programs")
    except Exception as error:  # the process's top: a defect is one line, too
        found = f"unexpected {type(error).__name__}: {error}"
        if "cannot open shared object file" in str(error):  # the words of Linux's loader
            yield _failed(name, found, "install the system library; OpenCV's are in libgl1 and libglib2.0-0")
        else:
            yield _failed(name, found)
