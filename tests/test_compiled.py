"""Where compiled loops are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba as nb
import pytest

from icface import compiled


def place(monkeypatch: pytest.MonkeyPatch, package: Path, cache: Path, temporary: Path) -> tuple[bool, str]:
    monkeypatch.setattr(nb.config, "CACHE_DIR", "")
    monkeypatch.setattr(compiled, "__file__", str(package / "compiled.py"))
    monkeypatch.setenv("ICFACE_CACHE_DIR", str(cache))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    config: Any = nb.config
    return compiled._find_a_place(), config.CACHE_DIR


def test_the_first_place_that_can_be_written_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where a folder should be")
    cache = tmp_path / "cache"
    assert place(monkeypatch, tmp_path, blocked, blocked) == (True, ""), (
        "numba's own place, beside the package"
    )
    assert place(monkeypatch, blocked, cache, blocked) == (True, str(cache / "compiled"))
    kept, folder = place(monkeypatch, blocked, blocked, tmp_path)
    assert kept and Path(folder).parent == tmp_path
    Path(folder).chmod(0o777)
    assert place(monkeypatch, blocked, blocked, tmp_path) == (False, ""), "a folder that others can write to"
    assert place(monkeypatch, blocked, blocked, blocked) == (False, "")
