"""Keys from a terminal, and the terminal afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from realtime.hotkeys import TerminalKeys, key_name

if sys.platform == "win32":
    pytest.skip("terminals are POSIX's here", allow_module_level=True)

import pty
import termios


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A descriptor to type into; standard input is the terminal it belongs to."""
    master, slave = pty.openpty()
    terminal = os.fdopen(slave, "r")
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp())
    yield master
    terminal.close()
    os.close(master)


def test_keys_come_one_by_one_without_enter(keyboard: int) -> None:
    with TerminalKeys() as keys:
        assert keys.poll_key() is None
        for typed, key in (("n", "n"), ("M", "m"), (" ", "space"), ("3", "3"), ("\x1b", "escape")):
            os.write(keyboard, typed.encode())
            assert keys.poll_key() == key
        assert keys.poll_key() is None


def test_an_arrow_key_is_no_escape(keyboard: int) -> None:
    with TerminalKeys() as keys:
        os.write(keyboard, b"\x1b[A")
        assert keys.poll_key() is None
        assert keys.poll_key() is None


def test_the_terminal_is_left_as_it_was_also_after_an_error(keyboard: int) -> None:
    before = termios.tcgetattr(sys.stdin)
    with pytest.raises(ZeroDivisionError), TerminalKeys():
        assert termios.tcgetattr(sys.stdin) != before
        raise ZeroDivisionError
    assert termios.tcgetattr(sys.stdin) == before


def test_in_the_background_the_terminal_is_left_alone(keyboard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "tcgetpgrp", lambda descriptor: os.getpgrp() + 1)
    before = termios.tcgetattr(sys.stdin)
    with TerminalKeys() as keys:
        assert termios.tcgetattr(sys.stdin) == before
        os.write(keyboard, b"q")
        assert keys.poll_key() is None


def test_without_a_terminal_there_are_no_keys() -> None:
    with TerminalKeys() as keys:
        assert keys.poll_key() is None


@pytest.mark.parametrize(
    ("pressed", "name"), [(" ", "space"), ("\x1b", "escape"), ("Q", "q"), ("7", "7"), ("escape", "escape")]
)
def test_key_names(pressed: str, name: str) -> None:
    assert key_name(pressed) == name
