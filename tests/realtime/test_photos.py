"""The photos of a run: the first at once, the others in the background."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from icface.errors import SourceError
from realtime.photos import Photos


def wait(photos: Photos[Any]) -> None:
    """Until the others are prepared. Nothing can be added afterwards."""
    photos._waiting.put(None)
    photos._thread.join(30)
    assert not photos._thread.is_alive()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.touch()
    return paths


def test_the_first_source_comes_at_once_and_the_others_in_the_background(photos: list[Path]) -> None:
    prepared = Photos(photos, lambda number: f"prepared {number}")
    assert prepared.first() == "prepared 0"
    assert prepared.get(1) is None
    prepared.start_others()
    wait(prepared)
    assert [prepared.get(i) for i in range(4)] == ["prepared 0", "prepared 1", "prepared 2", None]
    prepared.close()


def test_a_bad_photo_among_the_others_is_told_and_the_rest_come(
    photos: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    def prepare(number: int) -> int:
        if number == 1:
            raise SourceError("no face in b.jpg")
        return number

    prepared = Photos(photos, prepare)
    prepared.first()
    with caplog.at_level(logging.INFO, logger="realtime"):
        prepared.start_others()
        wait(prepared)
        assert "source 2 cannot be used: no face in b.jpg" in caplog.text
        assert prepared.get(1) is None and prepared.get(2) == 2
    assert "source 2 cannot be shown: no face in b.jpg" in caplog.text
    prepared.close()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("odd")])
def test_an_error_that_nobody_expected_costs_its_photo_alone(photos: list[Path], error: Exception) -> None:
    def prepare(number: int) -> int:
        if number == 1:
            raise error
        return number

    prepared = Photos(photos, prepare)
    prepared.start_others()
    wait(prepared)
    assert "used up" in prepared.problem(1) or "RuntimeError: odd" in prepared.problem(1)
    assert prepared.get(2) == 2
    prepared.close()


def test_a_missing_photo_is_told_before_anything_is_done(photos: list[Path]) -> None:
    with pytest.raises(SourceError, match=r"d\.jpg is not there"):
        Photos([*photos, photos[0].with_name("d.jpg")], lambda number: number)


def test_closing_waits_for_the_photo_at_hand_and_begins_no_other(photos: list[Path]) -> None:
    begun = threading.Event()

    def prepare(number: int) -> int:
        begun.set()
        assert prepared._stop.wait(30), "it ends after `close` was called"
        return number

    prepared = Photos(photos, prepare)
    prepared.start_others()
    assert begun.wait(30)
    prepared.close()
    assert not prepared._thread.is_alive()
    assert prepared.get(1) == 1 and prepared.get(2) is None


def test_a_photo_can_be_added_while_the_run_goes_on(photos: list[Path], tmp_path: Path) -> None:
    late, useless = tmp_path / "late.jpg", tmp_path / "useless.jpg"

    def prepare(number: int) -> Path:
        path = prepared.paths[number]
        if path == useless:
            raise SourceError("no face in useless.jpg")
        return path

    prepared = Photos(photos[:1], prepare)
    prepared.first()
    prepared.start_others()
    assert (prepared.add(useless), prepared.add(late)) == (1, 2)
    wait(prepared)
    assert prepared.ready(1) is None and prepared.problem(1) == "no face in useless.jpg"
    assert prepared.ready(2) == late and prepared.problem(2) == ""
    prepared.close()
