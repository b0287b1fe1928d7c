"""The soak: faults come from the seed, a log is gone on with, and a short round with everything breaking ends well."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.faults import Dice, rounds_of, soak


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

    monkeypatch.setattr(faults, "one_round", a_round)
    monkeypatch.setattr(faults, "frames_of", lambda clip: [])
    soak(250, 1, Path("clip.mp4"), (), log, lambda: 1.0)
    assert made == [0, 1, 2]
    rounds = soak(450, 1, Path("clip.mp4"), (), log, lambda: 1.0)
    assert made == [0, 1, 2, 3, 4] and len(rounds) == 5
    assert rounds_of(log) == rounds and json.loads(log.read_text().splitlines()[3])["mib"] == 1.0


@pytest.mark.slow
def test_a_round_in_which_things_break_ends_well(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "ROUND_FRAMES", 60)
    monkeypatch.setattr(faults, "FAULT_RATE", 0.2)
    frames = faults.frames_of(repository / "examples/driver.mp4", count=20)
    line = faults.one_round(3, 1, (repository / "examples/rendered.jpg",), frames)
    assert line["frames"] > 10 and line["faults"]
