"""Faults in whole runs with the real parts, injected: docs/faults.md has a line for each test."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines.backends.host import HostEngine
from icface.errors import DeviceError, EngineError
from icface.face.tracker import FaceTracker
from icface.images import load_photo
from icface.reenactor import Reenactor
from icface.tables import read_csv
from realtime import watchdog
from realtime.cli import main
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.photos import Photos
from realtime.renderer import Renderer, make_scene
from realtime.sinks.video_file import VideoFileSink
from tests.realtime.fakes import smile


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Callable[..., int]:
    """Runs the command on the example; what it makes is out.mp4."""

    def run_it(*flags: str) -> int:
        photo, clip = repository / "examples/rendered.jpg", repository / "examples/driver.mp4"
        given = ["--source", str(photo), "--driver", str(clip), "--output", str(tmp_path / "out.mp4")]
        return main([*given, "--quality", "fast", *flags])

    return run_it


def playable(path: Path) -> int:
    """How many frames of a video can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("error: ")]


def at_call(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int, fault: Callable[[], Any]
) -> None:
    """Let a method do `fault` before its call of that number, counted from 1. What that gives, if anything, is given."""
    original, calls = getattr(owner, name), [0]

    def faulty(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        given = fault() if calls[0] == number else None
        return original(*arguments, **named) if given is None else given

    monkeypatch.setattr(owner, name, faulty)


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("owner", "name", "fault", "words"),
    [
        (
            FaceTracker,
            "read",
            RuntimeError("the inference failed"),
            "unexpected RuntimeError: the inference failed",
        ),
        (
            Reenactor,
            "animate",
            EngineError("the GPU is gone; choose another"),
            "the GPU is gone; choose another",
        ),
        (Reenactor, "animate", MemoryError(), "the memory of this machine is used up; close other programs"),
        (
            VideoFileSink,
            "send",
            DeviceError("the disk is gone; take another"),
            "the disk is gone; take another",
        ),
    ],
    ids=["tracker", "engine", "memory", "sink"],
)
def test_a_stage_that_raises_in_the_middle(
    owner: type,
    name: str,
    fault: Exception,
    words: str,
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file holds the frames before it and plays; one line says what it was."""
    at_call(monkeypatch, owner, name, 6, fail_with(fault))
    assert run("--frames", "12") == 1
    (line,) = errors(capsys)
    assert words in line
    assert playable(tmp_path / "out.mp4") == 5


def test_an_engine_that_gives_black(
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A black picture is never sent."""
    compute, sent = HostEngine._compute, [0]

    def failing(engine: HostEngine, *arguments: Any) -> Any:
        (made,) = compute(engine, *arguments)
        return (np.zeros_like(made) if sent[0] >= 5 else made,)

    send = Outputs.send

    def counted(outputs: Outputs, *arguments: Any) -> None:
        sent[0] += 1
        send(outputs, *arguments)

    monkeypatch.setattr(HostEngine, "_compute", failing)
    monkeypatch.setattr(Outputs, "send", counted)
    assert run("--frames", "12", "--engine", "host") == 1
    assert errors(capsys) == ["error: the engine host gives a black picture; choose another with --engine"]
    assert playable(tmp_path / "out.mp4") == 5


def test_a_tracker_that_does_not_return(
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The watchdog names it; the file is finished."""
    release = threading.Event()

    def hang() -> None:
        monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.05)
        release.wait(60)  # bounded, so that the thread ends with the test

    monkeypatch.setattr("realtime.drivers.JOIN_TIMEOUT_S", 0.05)
    at_call(monkeypatch, FaceTracker, "read", 6, hang)
    assert run("--frames", "12") == 1
    release.set()
    (line,) = errors(capsys)
    assert "tracking the face (stage track) has not come back" in line
    assert playable(tmp_path / "out.mp4") == 5


_HANGING = """
import sys, threading
from icface.reenactor import Reenactor
from realtime import cli, watchdog
animate, calls = Reenactor.animate, [0]
def hang(*arguments):
    calls[0] += 1
    if calls[0] == 6:
        watchdog.LOOK_EVERY_S = 0.05
        threading.Event().wait()
    return animate(*arguments)
Reenactor.animate = hang
sys.exit(cli.main())
"""


def test_an_engine_that_does_not_return(repository: Path, tmp_path: Path) -> None:
    """It holds the main thread for good. Files are finished from outside, and the process ends."""
    out, table = tmp_path / "out.mp4", tmp_path / "drive.csv"
    flags = ["--source", "examples/rendered.jpg", "--driver", "examples/driver.mp4", "--quality", "fast"]
    command = [
        sys.executable,
        "-c",
        _HANGING,
        *flags,
        "--output",
        str(out),
        "--record-attributes",
        str(table),
    ]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert (
        "error: the engine (stage animate) has not come back for 2 s, so the run ends; choose another"
        in ended.stderr
    )
    assert "Traceback" not in ended.stderr
    assert playable(out) == 5
    assert len(read_csv(table)) == 5


STAGES = {
    "opening": (Photos, "first", 1, 0),
    "tracking": (FaceTracker, "read", 6, 1),
    "animating": (Renderer, "render", 6, 6),
    "sending": (VideoFileSink, "send", 6, 6),
    "closing": (VideoFileSink, "close", 1, 8),
}
"""A method of each stage, at which call the signal comes, and how many frames the file has at least."""
SIGNALS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, SIGNALS[i % len(SIGNALS)]) for i, stage in enumerate(STAGES)]
)
def test_a_signal_in_every_stage(
    stage: str,
    name: str,
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run ends in order: no traceback, and a file that plays, or none where no frame was made."""
    number = getattr(signal, name)
    before = signal.signal(number, signal.default_int_handler)
    owner, method, call, least = STAGES[stage]
    at_call(monkeypatch, owner, method, call, lambda: signal.raise_signal(number))
    try:
        code = run("--frames", "8" if stage == "closing" else "200")
    finally:
        signal.signal(number, before)
    if stage == "closing":  # the work was done
        assert code == 0 and errors(capsys) == []
    else:
        assert code == 1
        (line,) = errors(capsys)
        assert line.startswith("error: stopped")
    out = tmp_path / "out.mp4"
    assert (playable(out) if out.exists() else 0) >= least
    assert [path.name for path in tmp_path.iterdir()] == (["out.mp4"] if out.exists() else [])


def test_a_wall_clock_that_jumps(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look at it is a day earlier. The pictures have the driver's times all the same."""
    days = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 86_400.0 * next(days))
    assert run("--frames", "6") == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        times_s = [picture.time for picture in container.decode(video=0)]
    assert np.diff(times_s) == pytest.approx(1 / 30, abs=1e-3)


def test_a_thousand_changes_of_source(repository: Path) -> None:
    """Every picture is of the source that was asked for, and memory does not grow."""
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), "host", corrected=False)
    first = reenactor.prepare_source(load_photo(repository / "examples/rendered.jpg"))
    # The same person in other colours.
    skin = first.cache["skin"][..., [2, 1, 0, 3]].copy()
    second = replace(first, cache={**first.cache, "skin": skin})
    scenes = [make_scene(number, source, "crop", None) for number, source in enumerate((first, second))]
    renderer = Renderer(reenactor, scenes[0], Metrics(), mark=False)
    expected = []
    for scene in scenes:
        renderer.show(scene)
        expected.append(renderer.render(smile(0.5)).copy())
    assert not np.array_equal(expected[0], expected[1])
    tracemalloc.start()
    for number in range(1000):
        if number == 100:
            before = tracemalloc.get_traced_memory()[0]
        renderer.show(scenes[number % 2])
        if number % 25 == 0:
            assert np.array_equal(renderer.render(smile(0.5)), expected[number % 2])
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    reenactor.close()
    assert grown < 200_000
