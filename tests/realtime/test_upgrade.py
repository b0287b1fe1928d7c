"""A better engine on its way: built by a process that may die, opened beside the running one, taken over by the loop."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from icface.errors import EngineError
from realtime.upgrade import Upgrade, build_command, run_builder

WELL = [sys.executable, "-c", "pass"]


def saying(text: str, code: int) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({text!r}, file=sys.stderr); sys.exit({code})"]


class Opened:
    """What stands for an engine."""

    description = "a better engine"

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def finished(upgrade: Upgrade) -> None:
    """Wait until its thread has ended."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "building an engine")
    thread.join(60)
    assert not thread.is_alive()


def test_what_was_built_is_opened_and_given_once() -> None:
    engine = Opened()
    upgrade = Upgrade("x:fp16", WELL, lambda: engine)  # type: ignore[arg-type, return-value]
    assert upgrade.take() is None
    upgrade.start()
    finished(upgrade)
    assert upgrade.take() is engine  # type: ignore[comparison-overlap]
    assert upgrade.take() is None
    upgrade.close()
    assert engine.closed == 0  # it is the taker's


def test_an_engine_that_nobody_took_is_closed() -> None:
    engine = Opened()
    upgrade = Upgrade("x:fp16", WELL, lambda: engine)  # type: ignore[arg-type, return-value]
    upgrade.start()
    finished(upgrade)
    upgrade.close()
    assert engine.closed == 1


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (saying("working\nerror: int8 is refused: 31.0 dB", 1), "int8 is refused: 31.0 dB"),
        ([sys.executable, "-c", "import os; os._exit(7)"], "the builder died (code 7)"),
        ([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], "died (code -9)"),
        (["/no/such/program"], "cannot be started (No such file or directory)"),
    ],
)
def test_a_build_that_fails_is_said_in_one_line_and_nothing_is_opened(
    command: list[str], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = Upgrade("x:fp16", command, lambda: pytest.fail("nothing was built"))
    upgrade.start()
    finished(upgrade)
    assert upgrade.take() is None
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith("the engine x:fp16 is not used: ") and line in warning


def test_an_engine_that_does_not_open_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> object:
        raise EngineError("it gives a wrong golden frame")

    upgrade = Upgrade("x:fp16", WELL, fail)  # type: ignore[arg-type]
    upgrade.start()
    finished(upgrade)
    assert upgrade.take() is None and "not used: it gives a wrong golden frame" in caplog.text


SLOW = """
import signal, sys, time
if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("started", flush=True)
open({path!r}, "w").close()
time.sleep(600)
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "started"


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_end_of_the_run_ends_a_build(
    stubborn: bool, started: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that does not listen."""
    monkeypatch.setattr("realtime.upgrade.TERM_S", 0.5)
    upgrade = Upgrade(
        "x:fp16",
        [sys.executable, "-c", SLOW.format(stubborn=stubborn, path=str(started))],
        lambda: pytest.fail("it was ended"),
    )
    upgrade.start()
    waiting = threading.Event()
    while not started.exists():
        waiting.wait(0.02)
    upgrade.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "building an engine"]


def test_a_build_without_end_is_ended(started: Path) -> None:
    command = [sys.executable, "-c", SLOW.format(stubborn=False, path=str(started))]
    assert run_builder(command, threading.Event(), timeout_s=0.4) == "the builder did not end within 0 s"


def test_the_command_that_builds() -> None:
    command = build_command(
        Path("m.icface"), "tensorrt_rtx:fp16", [Path("a.jpg"), Path("b.jpg")], 256, beside=True
    )
    assert command[:5] == [sys.executable, "-m", "export.build_engine", "m.icface", "--backend"]
    assert command[5:] == [
        *("tensorrt-rtx", "--precision", "fp16", "--size", "256"),
        *("--photo", "a.jpg", "--photo", "b.jpg", "--low-priority"),
    ]
    assert build_command(Path("m.icface"), "tensorrt", [], None, beside=False)[3:] == [
        *("m.icface", "--backend", "tensorrt")
    ]
