"""Some hundred inputs for each target, the same at every run. `python -m tests.fuzz` goes on for as long as one likes."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
from pathlib import Path

import pytest

from icface.errors import ConfigError
from tests.fuzz import contract
from tests.fuzz.contract import Broken, holding
from tests.fuzz.mutations import changed
from tests.fuzz.running import fuzz
from tests.fuzz.targets import CORPUS, TARGETS, Target, a_desk, perform

EXAMPLES = {"manifest": 60, "command": 60, "upload": 40, "check": 40}
"""Inputs of those that take longest; the others get USUAL."""
USUAL = 80


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_the_contract(name: str) -> None:
    target = TARGETS[name]
    if target.needs and importlib.util.find_spec(target.needs) is None:
        pytest.skip(f"{target.needs} is not installed")
    fuzz(target, EXAMPLES.get(name, USUAL))


@pytest.mark.parametrize("name", [name for name in TARGETS if (CORPUS / name).is_dir()])
def test_the_corpus_is_read(name: str, tmp_path: Path) -> None:
    """Its files of before are good, so that changes of them go deep; those that once broke the contract do not."""
    if TARGETS[name].needs and importlib.util.find_spec(TARGETS[name].needs) is None:
        pytest.skip(f"{TARGETS[name].needs} is not installed")
    for path in sorted((CORPUS / name).iterdir()):
        folder = tmp_path / path.name
        folder.mkdir()
        if path.name.startswith("broke-"):
            TARGETS[name].run(path.read_bytes(), folder)
        else:
            TARGETS[name].read(path.read_bytes(), folder)


def test_a_breach_is_seen(tmp_path: Path) -> None:
    """Each part of the contract, broken on purpose."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(Broken, match="KeyError instead of one of our errors"), holding(inside):
        raise KeyError("x")
    with pytest.raises(Broken, match="is not one line"), holding(inside):
        raise ConfigError("two\nlines")
    with pytest.raises(Broken, match=r"outside is written, outside of"), holding(inside):
        outside.write_text("x")
    with pytest.raises(Broken, match="socket"), holding(inside), socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))
    with pytest.raises(Broken, match="Popen"), holding(inside):
        subprocess.run(["true"])
    with holding(inside):
        (inside / "mine").write_text("x")
        raise ConfigError("one line")
    assert not outside.exists()


def test_an_error_of_ours_in_making_ready_is_no_outcome(tmp_path: Path) -> None:
    """Else a target that cannot even begin would pass for ever."""

    def fail() -> None:
        raise ConfigError("one line")

    with pytest.raises(ConfigError, match="one line"):
        Target("planted", lambda: changed([b""]), lambda content, folder: None, ready=fail).run(b"", tmp_path)


def test_commands_come_to_a_desk_that_works(tmp_path: Path) -> None:
    perform({"does": "save_preset", "name": "talk"}, tmp_path)
    assert (a_desk().tracks.folder / "presets/talk.toml").is_file()


def test_memory_without_a_bound_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = iter([10**9, 10**9 + contract.MAX_BYTES + 1, 10**10])
    monkeypatch.setattr(contract, "_memory_bytes", lambda: next(memory))
    with pytest.raises(Broken, match="of memory were taken"), holding(tmp_path):
        pass


def test_the_fuzzer_finds_a_defect(tmp_path: Path) -> None:
    """A reader that fails on a zero byte, given text."""

    def read(content: bytes, folder: Path) -> None:
        if b"\x00" in content:
            raise ZeroDivisionError

    target = Target("planted", lambda: changed([b"a little text"]), read)
    with pytest.raises(Broken, match="ZeroDivisionError"):
        fuzz(target, 300, keep=tmp_path / "kept")
    assert b"\x00" in (tmp_path / "kept").read_bytes()
