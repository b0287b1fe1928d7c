"""Tests of building in another process: the order and the answer, the end, and what the builder must not touch."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from icface.bundle import DEFAULT_BUNDLE
from icface.engines import background
from icface.engines.background import BackgroundBuild, Order, run_builder
from icface.errors import EngineError
from tests.conftest import REPOSITORY

ORDER = Order(bundle=DEFAULT_BUNDLE, engine="x:fp16")
HEADER = f"""
import os, signal, socket, sys, threading
sys.path.insert(0, {str(REPOSITORY)!r})
from icface.engines import background
from icface.errors import EngineError

def fail(line):
    raise EngineError(line)
"""
WELL = "background.serve(lambda order: None)"


def use(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Start this code in the place of the builder."""
    command = [sys.executable, "-P", "-c", HEADER + code]
    monkeypatch.setattr(background, "builder_command", lambda: command)


class Opened:
    """Stands for an engine."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The engine that `open_engine` opens."""
    engine = Opened()
    monkeypatch.setattr(background, "open_engine", lambda name, bundle, *, threads: engine)
    return engine


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A builder connects to it when it has started. The connection closes when the builder ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def never_done(listener: socket.socket) -> str:
    """A builder that connects to the listener and then builds for ever. It ignores SIGTERM."""
    return f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def build(order):
    connection = socket.create_connection({listener.getsockname()!r})
    threading.Event().wait()
background.serve(build)
"""


def started(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(60)
    return connection


# Results


def test_what_was_built_is_opened_and_given_once(monkeypatch: pytest.MonkeyPatch, engine: Opened) -> None:
    use(monkeypatch, WELL)
    build = BackgroundBuild(ORDER)
    assert build.take() is None
    build.start()
    assert build.ended.wait(60)
    assert build.take() is engine  # type: ignore[comparison-overlap]
    assert build.take() is None
    build.close()
    assert engine.closed == 0  # it belongs to the caller


def test_an_engine_that_nobody_took_is_closed(monkeypatch: pytest.MonkeyPatch, engine: Opened) -> None:
    use(monkeypatch, WELL)
    build = BackgroundBuild(ORDER)
    build.start()
    assert build.ended.wait(60)
    build.close()
    assert engine.closed == 1


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("background.serve(lambda order: fail('int8 is refused: 31.0 dB'))", "int8 is refused: 31.0 dB"),
        ("os._exit(7)", "the builder died (code 7)"),
        ("background.serve(lambda order: os.kill(os.getpid(), signal.SIGKILL))", "died (code -9)"),
        ("raise ImportError('no module')", "the builder died (code 1)"),
    ],
)
def test_a_build_that_fails_is_said_in_one_line_and_nothing_is_opened(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str, line: str
) -> None:
    monkeypatch.setattr(background, "open_engine", lambda *_, **__: pytest.fail("nothing was built"))
    use(monkeypatch, code)
    build = BackgroundBuild(ORDER)
    build.start()
    assert build.ended.wait(60) and build.take() is None
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith("the engine x:fp16 is not used: ") and line in warning


def test_a_builder_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "builder_command", lambda: ["/no/such/program"])
    with pytest.raises(EngineError, match=r"cannot be started \(No such file or directory\)"):
        run_builder(ORDER, threading.Event())


def test_an_engine_that_does_not_open_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise EngineError("it gives a wrong golden frame")

    monkeypatch.setattr(background, "open_engine", wrong)
    use(monkeypatch, WELL)
    build = BackgroundBuild(ORDER)
    build.start()
    assert build.ended.wait(60)
    assert build.take() is None and "not used: it gives a wrong golden frame" in caplog.text


def test_the_order_arrives_and_what_libraries_print_does_not_disturb_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = Order(
        bundle=Path("a folder/mö.icface"),
        engine="tensorrt_rtx:fp16",
        photos=(Path("a.jpg"), Path("/b\n.jpg")),
        size_px=256,
        beside=True,
    )
    use(monkeypatch, "background.serve(lambda order: [os.write(1, bytes(200_000)), fail(repr(order))])")
    with pytest.raises(EngineError) as caught:
        run_builder(order, threading.Event())
    assert str(caught.value) == repr(order)


# The end of a build


def test_the_end_of_the_run_ends_a_build(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    use(monkeypatch, never_done(listener))
    build = BackgroundBuild(ORDER)
    build.start()
    with started(listener) as connection:
        assert build.take() is None
        build.close()
        assert build.ended.is_set()
        assert connection.recv(1) == b""  # the process is gone
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_a_build_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    use(monkeypatch, never_done(listener))
    with pytest.raises(EngineError, match="the builder did not end within 0 s"):
        run_builder(ORDER, threading.Event(), timeout_s=0.4)


def test_a_build_before_a_run_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    use(monkeypatch, never_done(listener))
    stop = threading.Event()

    def stop_when_started() -> None:
        with started(listener) as connection:
            stop.set()
            connection.recv(1)

    user = threading.Thread(target=stop_when_started)
    user.start()
    with pytest.raises(EngineError, match="stopped while the engine was being built"):
        run_builder(ORDER, stop)
    user.join(60)
    assert not user.is_alive()


PARENT = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from icface.engines import background
background.builder_command = lambda: [sys.executable, "-P", "-c", sys.argv[2]]
background.run_builder(background.Order(bundle=Path("m"), engine="x"), threading.Event())
"""


def test_it_dies_with_its_parent(listener: socket.socket) -> None:
    """The parent is killed, so it cannot say anything to the builder."""
    code = HEADER + never_done(listener)
    parent = subprocess.Popen([sys.executable, "-P", "-c", PARENT, str(REPOSITORY), code])
    try:
        with started(listener) as connection:
            parent.kill()
            assert connection.recv(1) == b""
    finally:
        parent.kill()
        parent.wait(60)


# Folder and priority


FROM_A_FOLDER = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from icface.bundle import DEFAULT_BUNDLE
from icface.engines.background import Order, run_builder
run_builder(Order(bundle=DEFAULT_BUNDLE, engine="onnxruntime:fp32", beside=True), threading.Event())
"""


def test_nothing_is_imported_from_the_folder_of_the_user(tmp_path: Path, cache_dir: Path) -> None:
    """The real builder builds an engine in a folder whose modules raise when they are imported."""
    pytest.importorskip("onnxruntime")
    for name in ("export", "icface", "json", "realtime", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was imported')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-P", "-c", FROM_A_FOLDER, str(REPOSITORY)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (facts,) = (cache_dir / "engines").glob("onnxruntime-fp32-*/engine.json")
    assert json.loads(facts.read_text())["precision"] == "fp32"
    # So does the command, started as a file of a checkout.
    command = [sys.executable, str(REPOSITORY / "export/build_engine.py"), "--backend", "onnxruntime"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0 and "onnxruntime:fp32" in result.stdout, result.stderr


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="the idle policy is Linux's")
def test_a_build_beside_a_live_loop_gives_the_right_of_way(monkeypatch: pytest.MonkeyPatch) -> None:
    use(
        monkeypatch,
        "def build(order):\n"
        "    background.step_back()\n"
        "    fail(f'{os.nice(0)} {os.sched_getscheduler(0) == os.SCHED_IDLE} {len(os.sched_getaffinity(0))}')\n"
        "background.serve(build)",
    )
    with pytest.raises(EngineError, match=r"^19 True 1$"):
        run_builder(ORDER, threading.Event())
