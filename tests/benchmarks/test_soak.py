"""The soak: faults come from the seed, a log is gone on with, and a short round with everything breaking ends well."""

from __future__ import annotations

import json
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import faults, rounds
from benchmarks.faults import FAULT_FRAMES, BreakingCamera, Dice
from benchmarks.rounds import rounds_of, soak
from benchmarks.soak import main
from icface.errors import DeviceError


def test_the_same_seed_breaks_the_same() -> None:
    def thrown(seed: int) -> list[str]:
        dice = Dice(random.Random(seed))
        return [dice.falls("a", "b", "c") for _ in range(2000)]

    assert thrown(3) == thrown(3) != thrown(4)
    assert 10 < sum(map(bool, thrown(3))) < 70, "one in 60"


def test_a_soak_goes_on_where_its_log_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "soak.jsonl"
    made: list[int] = []

    def a_round(number: int, *_: object) -> dict[str, object]:
        made.append(number)
        return {"round": number, "frames": 100}

    monkeypatch.setattr(rounds, "one_round", a_round)
    monkeypatch.setattr(rounds, "frames_of", lambda clip: [])
    soak(250, 1, Path("clip.mp4"), (), log, lambda: 1.0)
    assert made == [0, 1, 2]
    all_rounds = soak(450, 1, Path("clip.mp4"), (), log, lambda: 1.0)
    assert made == [0, 1, 2, 3, 4] and len(all_rounds) == 5
    assert rounds_of(log) == all_rounds and json.loads(log.read_text().splitlines()[3])["mib"] == 1.0


def test_a_camera_breaks_often_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "time", SimpleNamespace(sleep=lambda s: None, monotonic=lambda: 0.0))

    def broken(seed: int) -> list[str]:
        dice = Dice(random.Random(seed))
        camera = BreakingCamera([np.zeros((8, 8, 3), dtype=np.uint8)], dice)
        seen = []
        for _ in range(9000):
            with suppress(DeviceError):
                camera.read()
            seen.append(camera.fault)
        # A fault of 30 frames after 60 good ones, on average.
        assert 60 < dice.thrown.total() < 150
        return seen

    seen = broken(3)
    assert seen == broken(3) != broken(4)
    first = next(index for index, fault in enumerate(seen) if fault)
    assert len(set(seen[first : first + FAULT_FRAMES])) == 1
    assert set(seen) == {"", "unplugged", "stalled", "frozen", "resized", "grey", "noise", "black"}


def test_a_signal_from_outside_ends_a_soak_and_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "frames_of", lambda clip: [np.zeros((8, 8, 3), dtype=np.uint8)])
    monkeypatch.setattr(rounds, "run", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    log = tmp_path / "soak.jsonl"
    assert soak(100, 1, Path("clip.mp4"), (tmp_path / "me.jpg",), log, lambda: 1.0) == []
    assert not log.read_text() and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--load", "nan"], "--load takes a number up to 100"),
        (["--load", "2", "--frames", "3"], "--frames 300 or more"),
        (["--load", "2", "--faults"], "give one of them"),
        (["--faults", "--frames", "0"], "--frames 0: at least 1"),
        (["--faults", "--log", "{cut}"], "is no round"),
        (["--faults", "--log", "{missing}"], "No such file or directory"),
    ],
)
def test_what_cannot_be_soaked_is_one_line(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.jsonl").write_text('{"round')
    paths = {"cut": tmp_path / "cut.jsonl", "missing": tmp_path / "none" / "soak.jsonl"}
    assert main([flag.format_map(paths) for flag in flags]) in (1, 2)
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_round_that_did_not_end_as_it_should_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, sources = [np.zeros((8, 8, 3), dtype=np.uint8)], (tmp_path / "me.jpg",)
    monkeypatch.setattr(rounds, "ENDINGS", ("last sink lost",))
    monkeypatch.setattr(rounds, "run", lambda *_, **__: None)
    with pytest.raises(AssertionError, match="last sink lost: it ended well"):
        rounds.one_round(0, 1, sources, frames)
    ends = threading.Event()

    def leaves_a_thread(*_: object, **__: object) -> None:
        threading.Thread(target=ends.wait, name="tracker").start()
        raise DeviceError("the sink is gone")

    monkeypatch.setattr(rounds, "run", leaves_a_thread)
    try:
        with pytest.raises(AssertionError, match="threads were left: tracker"):
            rounds.one_round(0, 1, sources, frames)
    finally:
        ends.set()


@pytest.mark.slow
def test_a_round_in_which_things_break_ends_well(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_FRAMES", 60)
    monkeypatch.setattr(faults, "FAULT_RATE", 0.05)
    frames = faults.frames_of(repository / "examples/driver.mp4", count=20)
    line = rounds.one_round(3, 1, (repository / "examples/rendered.jpg",), frames)
    assert line["frames"] > 10 and line["faults"]
