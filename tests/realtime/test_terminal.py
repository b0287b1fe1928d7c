"""A run from file to file in a real terminal: how its user ends it, and what it leaves."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from tests.conftest import REPOSITORY

pty = pytest.importorskip("pty")
pytestmark = pytest.mark.slow
LONGEST_S = 60.0


WAYS = ("q", "ctrl-c", "hang up")


class Run(NamedTuple):
    """A process, our end of its terminal, and the file that it writes."""

    process: subprocess.Popen[bytes]
    terminal: io.FileIO
    output: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """One run for each way to end it, all at once, because starting takes longest. Only their users end them: the
    driver is repeated for ever. Pictures of full size fill the file's buffer sooner."""
    made: dict[str, Run] = {}
    try:
        for way in WAYS:
            output = tmp_path_factory.mktemp("run") / "out.mp4"
            terminal, inside = pty.openpty()
            command = [
                sys.executable, "-c", "import sys; from realtime.cli import main; sys.exit(main())",
                str(REPOSITORY / "examples/rendered.jpg"),
                "--driver", str(REPOSITORY / "examples/driver.mp4"), "--loop", "--pace",
                "--quality", "fast", "--output", str(output),
            ]  # fmt: skip
            made[way] = Run(_leader(command, inside), io.FileIO(terminal, "r+"), output)
            os.close(inside)
        yield made
    finally:
        for process, terminal, _ in made.values():
            if process.poll() is None:
                process.kill()
                process.wait()
            terminal.close()


@pytest.mark.parametrize("way", WAYS)
def test_whoever_ends_a_run_in_a_terminal_keeps_a_file_that_plays(runs: dict[str, Run], way: str) -> None:
    process, terminal, output = runs[way]
    said = _read_until(terminal.fileno(), output.parent)
    if way == "q":
        terminal.write(b"q")
    elif way == "ctrl-c":
        terminal.write(b"\x03")
    else:
        terminal.close()
    assert _wait(process, -1 if terminal.closed else terminal.fileno()) == 0, said
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
    assert [path.name for path in output.parent.iterdir()] == ["out.mp4"]


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
