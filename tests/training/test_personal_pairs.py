"""Pairs of one person's frames: which frames are moved, to which others, and where both lie on each other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import INDEX, FloatArray, neutral
from icface.errors import ConfigError
from icface.face.landmarks import open_detector
from icface.images import load_photo
from tests.conftest import REPOSITORY
from training.learning.patch.pairs import read_set
from training.pairs.seen import look
from training.personal import lots, pairs
from training.personal.calm import COVERED, calm_frames, oddness
from training.personal.frames import ChosenFrame
from training.personal.lots import draw_lots
from training.personal.pairs import HELD, LEARN, make_pairs


def made_frame(time_s: float, *, held: bool = False, grey: int = 120, **units: float) -> ChosenFrame:
    """A frame of even colour with landmarks spread over it."""
    points = np.random.default_rng(3).uniform(20, 76, (478, 3)).astype(np.float32)
    attributes = neutral()
    for name, value in units.items():
        attributes[INDEX[name]] = value
    return ChosenFrame(
        picture=np.full((96, 96, 3), grey, dtype=np.uint8),
        points_px=points,
        blendshapes=np.zeros(52, dtype=np.float32),
        attributes=attributes,
        video=0,
        time_s=time_s,
        held=held,
    )


def covered(frame: ChosenFrame) -> ChosenFrame:
    """The frame with a dark hand before its lower half."""
    frame.picture[48:] = 30
    return frame


def test_calm_frames_are_apart_and_never_held_nor_beside_a_hand() -> None:
    frames = [
        made_frame(0.0, AU12=0.1),
        made_frame(0.1, AU12=0.2),  # too near to the calmer one
        made_frame(1.0, AU12=0.9),
        made_frame(2.0, held=True),
        covered(made_frame(5.0)),
        made_frame(5.3),  # calm, and the hand is still below the face
        made_frame(9.0, AU12=0.3),
    ]
    odd = oddness(frames)
    assert odd[4] > COVERED > odd[[0, 1, 2, 3, 5, 6]].max()
    assert calm_frames(frames, 3) == [0, 6, 2]


def test_without_a_frame_to_learn_from_it_is_said() -> None:
    with pytest.raises(ConfigError, match="no frame is left to learn from"):
        calm_frames([made_frame(0.0, held=True)], 1)


def test_rare_expressions_are_in_every_draw_and_held_frames_in_their_own() -> None:
    frames = [made_frame(float(i)) for i in range(300)]
    frames[40] = made_frame(40.0, AU45=0.5)
    frames += [made_frame(400.0 + i, held=True, AU26=i / 20) for i in range(20)]
    learn = draw_lots(frames, [0, 5], held=False)
    held = draw_lots(frames, [0, 5], held=True)
    assert len(learn) <= lots.PAIRS
    assert sum(lot.target == 40 for lot in learn) >= 1
    assert learn[0].target == 40
    assert not any(frames[lot.target].held or lot.target in (0, 5) for lot in learn)
    assert {lot.way for lot in learn} == {"shape", "attributes"}
    assert {(lot.source, lot.target, lot.way) for lot in held} == {
        (0, target, "attributes") for target in range(300, 320)
    }


@pytest.mark.slow
def test_pairs_of_frames_lie_on_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three frames of an example photo, one of them mirrored and one brighter: the same face by shape and attributes."""
    picture = load_photo(REPOSITORY / "examples/source.jpg").frame
    detector = open_detector(video=False)
    shown: list[tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], bool]] = [
        (picture, False),
        (np.ascontiguousarray(np.roll(picture, 9, axis=1)), False),
        (np.ascontiguousarray(np.roll(picture, -7, axis=0)), True),
    ]
    frames = []
    for number, (one, held) in enumerate(shown):
        face = look(one, detector).landmarks
        attributes: FloatArray = neutral()
        frames.append(
            ChosenFrame(
                picture=one,
                points_px=face.points_px,
                blendshapes=face.blendshapes,
                attributes=attributes,
                video=number,
                time_s=0.0,
                held=held,
            )
        )
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(pairs, "SOURCES", 1)
    monkeypatch.setattr(pairs, "KEPT_VARIATIONS", 1)
    told: list[float] = []
    make_pairs(frames, None, tmp_path, told.append)
    assert told[-1] == 1.0
    for part, count in ((LEARN, 1), (HELD, 1)):
        made = read_set(tmp_path / part, "person")
        assert len(made.rows) >= count
        assert max(float(row["error"]) for row in made.rows) < 8
    assert {row["kind"] for row in read_set(tmp_path / LEARN, "kept").rows} == {"render"}
    index = json.loads((tmp_path / HELD / "index.json").read_text())["sets"]["person"]
    assert index["kind"] == "talk"
    # What is there is not made again.
    before = (tmp_path / LEARN / "index.json").stat().st_mtime_ns
    monkeypatch.setattr(pairs, "_make", None)
    make_pairs(frames, None, tmp_path, told.append)
    assert (tmp_path / LEARN / "index.json").stat().st_mtime_ns == before


def test_what_is_kept_alone_is_not_all_pairs(tmp_path: Path) -> None:
    """Stopped between the two sets, the pairs are made again."""
    for sets, done in (({"kept"}, False), ({"kept", "person"}, True)):
        (tmp_path / "index.json").write_text(json.dumps({"sets": {name: {"stamp": "x"} for name in sets}}))
        assert pairs._is_done(tmp_path, "x") is done
