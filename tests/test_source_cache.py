"""Prepared sources on disk: whole or not at all, bounded, and never in the way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from icface.arrays import Tensors
from icface.source_cache import SourceCache, cache_folder, source_key

TENSORS: Tensors = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "scalar": np.array(2.5, dtype=np.float32),
    "b": np.arange(6, dtype=np.uint8)[::2],
}


def test_what_is_stored_comes_back_as_it_was(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path)
    cache.store("k", TENSORS)
    found = cache.load("k")
    assert found is not None
    for name, value in TENSORS.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
        assert found[name].flags.c_contiguous and found[name].flags.writeable
    assert cache.load("other") is None
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("where", [0, 40, -1])
def test_a_damaged_file_is_dropped_and_made_again(
    tmp_path: Path, where: int, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SourceCache(tmp_path)
    cache.store("k", TENSORS)
    path = next(tmp_path.rglob("*.bin"))
    content = bytearray(path.read_bytes())
    content[where] ^= 0xFF
    path.write_bytes(content)
    assert cache.load("k") is None and not path.exists()
    assert "damaged" in caplog.text
    cache.store("k", TENSORS)
    assert cache.load("k") is not None


@pytest.mark.parametrize("length", [0, 20, 32, 100, -1])
def test_a_cut_file_is_dropped(tmp_path: Path, length: int) -> None:
    cache = SourceCache(tmp_path)
    cache.store("k", TENSORS)
    path = next(tmp_path.rglob("*.bin"))
    path.write_bytes(path.read_bytes()[:length])
    assert cache.load("k") is None and not path.exists()


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SourceCache(tmp_path)
    cache.store("k", TENSORS)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.store("k", {"a": np.zeros(3, dtype=np.uint8)})
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.rglob("*.part"))
    found = cache.load("k")
    assert found is not None and found["a"].shape == (3, 4)


def test_a_folder_that_cannot_be_made_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = SourceCache(blocked)
    cache.store("k", TENSORS)
    assert cache.load("k") is None and "not kept" in caplog.text


def test_what_was_used_longest_ago_goes_when_it_is_full(tmp_path: Path) -> None:
    tensors = {"a": np.zeros(1000, np.uint8)}  # with header and digest less than 1200 bytes
    cache = SourceCache(tmp_path, limit_bytes=3600)
    for age_s, key in ((30, "first"), (20, "second"), (10, "third")):
        cache.store(key, tensors)
        path = tmp_path / "sources" / f"{key}.bin"
        os.utime(path, ns=(0, path.stat().st_mtime_ns - age_s * 10**9))
    assert cache.load("first") is not None  # used again, so now the newest
    cache.store("fourth", tensors)
    assert {path.stem for path in tmp_path.rglob("*.bin")} == {"first", "third", "fourth"}


def test_what_a_killed_process_left_counts_and_goes(tmp_path: Path) -> None:
    cache = SourceCache(tmp_path, limit_bytes=3600)
    left = tmp_path / "sources" / "abc.part"
    left.parent.mkdir()
    left.write_bytes(bytes(3000))
    os.utime(left, (0, 0))
    cache.store("k", {"a": np.zeros(1000, np.uint8)})
    assert not left.exists() and cache.load("k") is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permission bits")
def test_faces_are_for_their_user_alone(tmp_path: Path) -> None:
    SourceCache(tmp_path).store("k", TENSORS)
    assert next(tmp_path.rglob("*.bin")).stat().st_mode & 0o077 == 0


def test_the_folder_is_the_users_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICFACE_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ICFACE_CACHE_DIR")
    assert cache_folder() == Path(platformdirs.user_cache_dir("icface-live", appauthor=False))


def test_keys_tell_all_parts_apart() -> None:
    keys = {source_key(*parts) for parts in (("a", 1), ("a", 2), ("a1",), ("a", None), ("a", "1", ""))}
    assert len(keys) == 5
    assert all(key.isalnum() for key in keys)  # a file name anywhere
