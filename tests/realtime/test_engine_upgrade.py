"""Tests of whole runs with an engine that is not built yet. A live run builds it in the background, others first."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from export.pack_paper import pack
from icface.bundle import Bundle
from icface.engines import background
from icface.networks import ModelInfo
from icface.networks.config import GeneratorConfig, NetworksConfig
from realtime.cli import main
from realtime.config import LiveConfig
from realtime.metrics import Metrics
from realtime.session import run
from tests.conftest import REPOSITORY
from tests.export.models import random_model

PHOTO = REPOSITORY / "examples/rendered.jpg"
CLIP = REPOSITORY / "examples/driver.mp4"
ENGINE = "onnxruntime:int8"

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    networks = NetworksConfig(size_px=32, generator=GeneratorConfig(width=8, blocks=1))
    info = ModelInfo(networks=networks, provenance="random", licence="MIT", step=0)
    folder = tmp_path_factory.mktemp("paper") / "m.icface"
    return pack(random_model(networks), info, folder, name="small")


def live(paper: Bundle, engine: str, **settings: object) -> LiveConfig:
    return LiveConfig(
        sources=(PHOTO,), drivers=(str(CLIP),), null=True, pace=True, loop=True, model=paper.path, engine=engine,
        **settings,  # type: ignore[arg-type]
    )  # fmt: skip


def run_until(config: LiveConfig, stats: Metrics, done: Callable[[], bool]) -> None:
    """Run until `done` says so, which is asked ten times a second; at most some minutes."""
    stop = threading.Event()

    def watch() -> None:
        for _ in range(1800):
            if done() or stop.wait(0.1):
                break
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run(config, stats, stop)
    finally:
        stop.set()
        watcher.join()


WAITING = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from icface.engines import background
def build(order):
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as test:
        test.recv(1)
    background.build_ordered(order)
background.serve(build)
"""


@pytest.mark.long  # its builder runs when nothing else does
def test_live_another_engine_runs_until_the_one_asked_for_is_built(
    paper: Bundle, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builder waits until frames were sent, so that there are some before the change on any machine."""
    stats = Metrics()
    before: list[str] = []
    after: list[int] = []

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        port = server.getsockname()[1]
        command = [sys.executable, "-P", "-c", WAITING, str(REPOSITORY), str(port)]
        monkeypatch.setattr(background, "builder_command", lambda: command)

        def a_few_frames_after_the_change() -> bool:
            sent = stats.counters["sent"]
            if not before and sent > 5:
                before.append(stats.about["engine"])
                builder, _ = server.accept()
                builder.close()  # it may build now
            if before and not after and any("int8" in event for event in list(stats.events)):
                after.append(sent)
            return bool(after) and sent > after[0] + 5

        run_until(live(paper, ENGINE), stats, a_few_frames_after_the_change)
    assert after and "int8" not in before[0]
    assert "int8" in stats.about["engine"] and stats.about["engine"] in stats.events
    assert list((cache_dir / "engines").glob("onnxruntime-int8-*/engine.bin"))


@pytest.mark.long
def test_from_file_to_file_it_is_built_first(paper: Bundle, cache_dir: Path, tmp_path: Path) -> None:
    report = tmp_path / "stats.json"
    flags = [
        "--source",
        PHOTO,
        "--camera",
        CLIP,
        "--null",
        "--frames",
        3,
        "--model",
        paper.path,
        "--stats",
        report,
    ]
    assert main([str(flag) for flag in (*flags, "--engine", ENGINE)]) == 0
    stats = json.loads(report.read_text())
    assert "int8" in stats["about"]["engine"] and stats["frames"]["sent"] == 3 and not stats["events"]


def test_without_building_it_is_an_error(
    paper: Bundle, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--source", PHOTO, "--camera", CLIP, "--null", "--frames", 3, "--model", paper.path]
    assert main([str(flag) for flag in (*flags, "--engine", ENGINE, "--no-build")]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "no int8 engine of onnxruntime is built for small here (none yet)" in line
    assert f"run icface-build-engine {paper.path}" in line


def test_a_build_that_fails_leaves_the_run_as_it_is(
    paper: Bundle, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder for engines cannot be made. That is logged once, and the portable engine goes on."""
    (cache_dir / "engines").write_text("in the way")
    stats = Metrics()
    run_until(live(paper, ENGINE), stats, lambda: "is not used" in caplog.text and stats.counters["sent"] > 0)
    assert f"the engine {ENGINE} is not used: cannot write {cache_dir / 'engines'}" in caplog.text
    assert "int8" not in stats.about["engine"] and stats.counters["sent"] > 0
