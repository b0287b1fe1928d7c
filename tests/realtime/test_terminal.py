"""A run from file to file in a real terminal: how its user ends it, and what it leaves."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from tests.conftest import REPOSITORY

pty = pytest.importorskip("pty")
pytestmark = pytest.mark.slow
LONGEST_S = 60.0


@pytest.mark.parametrize("way", ["q", "ctrl-c", "hang up"])
def test_whoever_ends_a_run_in_a_terminal_keeps_a_file_that_plays(tmp_path: Path, way: str) -> None:
    """The driver's file is repeated for ever, so that only the user ends the run."""
    output = tmp_path / "out.mp4"
    terminal, inside = pty.openpty()
    command = [
        sys.executable, "-c", "import sys; from realtime.cli import main; sys.exit(main())",
        str(REPOSITORY / "examples/rendered.jpg"), "--driver", str(REPOSITORY / "examples/driver.mp4"), "--loop",
        "--pace",
        "--size", "256", "--quality", "fast", "--output", str(output),
    ]  # fmt: skip
    started = _leader(command, inside)
    os.close(inside)
    try:
        said = _read_until(terminal, output.parent)
        if way == "q":
            os.write(terminal, b"q")
        elif way == "ctrl-c":
            os.write(terminal, b"\x03")
        else:
            os.close(terminal)
            terminal = -1
        code = _wait(started, terminal)
    finally:
        if started.poll() is None:
            started.kill()
        if terminal >= 0:
            os.close(terminal)
    if way != "hang up":  # nobody is there to see its code
        assert code == 0, said
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def _leader(command: list[str], inside: int) -> subprocess.Popen[bytes]:
    """A process whose controlling terminal this is, as a shell starts it."""

    def take_terminal() -> None:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=environment,
        preexec_fn=take_terminal,  # it calls the system and nothing else
    )


def _read_until(terminal: int, folder: Path) -> bytes:
    """Read what the run says until its unfinished file has pictures."""
    said, end_s = b"", time.monotonic() + LONGEST_S
    while time.monotonic() < end_s:
        if select.select([terminal], [], [], 0.05)[0]:
            said += os.read(terminal, 4096)
        if any(path.stat().st_size > 20_000 for path in folder.glob(".out.mp4*.part*")):
            return said
    raise AssertionError(f"no picture was written: {said!r}")


def _wait(started: subprocess.Popen[bytes], terminal: int) -> int:
    """The exit code; what the run says is read meanwhile, because a full terminal would hold it."""
    end_s = time.monotonic() + LONGEST_S
    while started.poll() is None and time.monotonic() < end_s:
        if terminal >= 0 and select.select([terminal], [], [], 0.05)[0]:
            try:
                os.read(terminal, 4096)
            except OSError:
                terminal = -1  # it was closed from within
        elif terminal < 0:
            started.wait(timeout=end_s - time.monotonic())
    assert started.returncode is not None, "the run did not end"
    return started.returncode
