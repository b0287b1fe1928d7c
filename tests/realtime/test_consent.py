"""Consent: asked once, kept by the photo's hash, and never kept with a picture or a name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from icface.errors import ConfigError
from realtime.consent import NOBODY, check_consent


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "me.png"
    Image.new("RGB", (20, 20), (90, 80, 70)).save(path)
    return path


class Terminal:
    """Gives the same answer to all questions, and keeps them."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __call__(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer


def kept(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_yes_is_asked_for_once_and_follows_the_photo_under_any_name(photo: Path, cache_dir: Path) -> None:
    terminal = Terminal(True)
    check_consent([photo], "ask", terminal)
    check_consent([photo], "ask", terminal)
    other = photo.with_name("other.png")
    photo.rename(other)
    check_consent([other], "ask", terminal)
    assert terminal.asked == ["me.png: is this you, did this person agree, or does nobody look like this?"]
    (file,) = kept(cache_dir)
    assert file.read_text() == "yes\n" and "me" not in file.name


def test_a_no_ends_the_run_and_is_asked_again(photo: Path, cache_dir: Path) -> None:
    terminal = Terminal(False)
    for _ in range(2):
        with pytest.raises(ConfigError, match="is not used without consent"):
            check_consent([photo], "ask", terminal)
    assert len(terminal.asked) == 2 and not kept(cache_dir)


def test_the_flag_answers_for_good(photo: Path, cache_dir: Path) -> None:
    check_consent([photo], "yes", None)
    terminal = Terminal(False)
    check_consent([photo], "ask", terminal)
    assert not terminal.asked


def test_where_nobody_can_answer_a_line_says_what_is_taken_for_granted(
    photo: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="realtime"):
        check_consent([photo], "ask", None)
    (line,) = caplog.messages
    assert "me.png" in line and "--consent yes" in line
    assert not kept(cache_dir)


def test_what_is_no_photo_is_not_asked_about(tmp_path: Path, cache_dir: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    terminal = Terminal(False)
    check_consent([tmp_path / "text.jpg", tmp_path / "missing.jpg"], "ask", terminal)
    assert not terminal.asked


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_what_never_ends_is_not_read(tmp_path: Path, cache_dir: Path) -> None:
    """A pipe without a writer would hold a reader for ever, and a device gives bytes for ever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    terminal = Terminal(True)
    check_consent([tmp_path / "pipe.jpg", Path("/dev/zero")], "ask", terminal)
    assert not terminal.asked


def test_the_examples_need_no_question(repository: Path, cache_dir: Path) -> None:
    photos = sorted((repository / "examples").glob("*.jpg"))
    assert len(photos) == len(NOBODY)
    terminal = Terminal(False)
    check_consent(photos, "ask", terminal)
    assert not terminal.asked


def test_a_cache_that_cannot_be_written_is_a_warning(
    photo: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cache_dir / "consent").write_text("in the way")
    check_consent([photo], "yes", None)
    assert "the consent is not kept" in caplog.text
