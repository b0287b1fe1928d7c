"""Tests of built engines on disk: their key, damaged and unfinished ones, the lock, and tidying."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from icface.bundle import Bundle
from icface.engines.base import GOLDEN_PSNR_DB, Target
from icface.engines.cache import CONTENT, FACTS, KERNELS_STALE_S, STALE_S, EngineCache, EngineKey, find_built
from icface.errors import EngineError, NotBuiltError, RefusedError
from tests.export.geometry_alone import geometry_alone

TARGET = Target(library="TensorRT 10.9.0", device="NVIDIA GeForce RTX 3060", capability="8.6")
KEY = EngineKey(model="0" * 64, backend="tensorrt", precision="fp16", target=TARGET)


def test_what_is_stored_is_found_with_its_facts(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    folder = cache.store(KEY, b"plan", {"seconds": 2.5, "golden_psnr_db": 40.0})
    found = cache.find(KEY)
    assert found is not None and found.content == b"plan" and found.facts["seconds"] == 2.5
    assert found.facts["target"]["device"] == "NVIDIA GeForce RTX 3060"
    assert folder.parent == tmp_path / "engines" and {path.name for path in folder.iterdir()} == {
        CONTENT,
        FACTS,
    }
    cache.drop(KEY)
    assert cache.find(KEY) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model="1" * 64),
        replace(KEY, backend="tensorrt_rtx"),
        replace(KEY, precision="fp32"),
        replace(KEY, target=replace(TARGET, library="TensorRT 10.10.0")),
        replace(KEY, target=replace(TARGET, device="NVIDIA GeForce RTX 3060 Ti")),
        replace(KEY, target=replace(TARGET, capability="8.9")),
    ],
)
def test_whatever_differs_makes_it_another_engine(tmp_path: Path, other: EngineKey) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, b"plan", {})
    assert cache.find(other) is None
    cache.store(other, b"another", {})
    found = [cache.find(key) for key in (KEY, other)]
    assert [each.content for each in found if each is not None] == [b"plan", b"another"]


def test_an_engine_may_give_a_little_less_than_its_graph_where_that_gave_too_little(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    floors = []
    for golden in (40.0, 46.0, 80.0, None):
        cache.store(KEY, b"plan", {"golden_psnr_db": golden})
        found = cache.find(KEY)
        assert found is not None
        floors.append(found.golden_floor_db)
    assert floors == [37.0, GOLDEN_PSNR_DB, GOLDEN_PSNR_DB, GOLDEN_PSNR_DB]


@pytest.mark.parametrize("name", [CONTENT, FACTS])
@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: b"\xff" + content[1:]])
def test_a_damaged_engine_goes(
    tmp_path: Path, name: str, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(tmp_path)
    folder = cache.store(KEY, b"plan", {})
    (folder / name).write_bytes(damage((folder / name).read_bytes()))  # type: ignore[operator]
    assert cache.find(KEY) is None and not folder.exists()
    assert "damaged" in caplog.text and "built again" in caplog.text


def test_no_room_is_said_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, b"plan", {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(
            EngineError, match=r"no room for an engine of 3 MB in .*; free some, or set ICFACE_CACHE_DIR"
        ):
            cache.store(KEY, b"x" * 3_000_000, {})
    found = cache.find(KEY)
    assert found is not None and found.content == b"plan"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    cache = EngineCache(tmp_path)
    with pytest.raises(EngineError, match="set ICFACE_CACHE_DIR to a folder that can be written"):
        cache.store(KEY, b"plan", {})
    with pytest.raises(EngineError, match="cannot write"), cache.building(KEY, timeout_s=1):
        pass
    assert cache.find(KEY) is None and cache.others(KEY) == []


def test_engines_used_longest_ago_go_and_so_does_what_a_dead_build_left(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, limit_bytes=5_000)
    keys = [replace(KEY, model=str(i) * 64) for i in range(3)]
    for age, key in zip((30, 20), keys, strict=False):
        folder = cache.store(key, b"x" * 2_000, {})
        os.utime(folder, (time.time() - age, time.time() - age))
    assert cache.find(keys[0]) is not None  # used now, so the other one is the oldest
    dead, alive = tmp_path / "engines" / ".a.1-2.part", tmp_path / "engines" / ".b.1-2.before"
    for folder, age in ((dead, STALE_S + 60), (alive, 60)):
        folder.mkdir()
        os.utime(folder, (time.time() - age, time.time() - age))
    cache.store(keys[2], b"x" * 2_000, {})
    assert [cache.find(key) is not None for key in keys] == [True, False, True]
    assert not dead.exists() and alive.exists()


def test_old_kernels_of_engines_that_are_gone_go(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    gone, built_ahead, here = (replace(KEY, model=str(i) * 64) for i in range(1, 4))
    cache.store(here, b"plan", {})
    for key, age in ((gone, KERNELS_STALE_S + 60), (built_ahead, 60), (here, KERNELS_STALE_S + 60)):
        cache.kernels(key).write_bytes(b"kernels")
        os.utime(cache.kernels(key), (time.time() - age, time.time() - age))
    cache.store(KEY, b"plan", {})
    assert [cache.kernels(key).exists() for key in (gone, built_ahead, here)] == [False, True, True]


def hold(folder: Path, held: object, release: object) -> None:
    with EngineCache(folder).building(KEY, timeout_s=1):
        held.set()  # type: ignore[attr-defined]
        release.wait(60)  # type: ignore[attr-defined]


def test_two_processes_do_not_build_the_same_at_once(tmp_path: Path) -> None:
    """The second one waits, and goes on when the first one is killed."""
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    first = context.Process(target=hold, args=(tmp_path, held, release))
    first.start()
    try:
        assert held.wait(60)
        cache = EngineCache(tmp_path)
        with (
            pytest.raises(EngineError, match="another process has been building the same engine for 0 s"),
            cache.building(KEY, timeout_s=0.1),
        ):
            pytest.fail("both build")
        with cache.building(replace(KEY, precision="fp32"), timeout_s=0.1):
            pass  # another engine has another lock
        entered = threading.Event()

        def second() -> None:
            with cache.building(KEY, timeout_s=60):
                entered.set()

        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.is_set()
        first.kill()
        waiting.join(60)
        assert entered.is_set()
    finally:
        first.kill()
        first.join(60)


def test_what_is_not_built_says_for_what_else_there_is_one(cache_dir: Path) -> None:
    bundle = Bundle.load(geometry_alone())
    with pytest.raises(
        NotBuiltError, match=r"no fp16 engine of tensorrt is built for edge geometry here \(none yet\)"
    ):
        find_built(bundle, "tensorrt", "fp16", TARGET)
    EngineCache().store(EngineKey.of(bundle, "tensorrt", "fp16", TARGET), b"plan", {})
    newer = replace(TARGET, library="TensorRT 10.10.0")
    with pytest.raises(NotBuiltError) as caught:
        find_built(bundle, "tensorrt", "fp16", newer)
    assert "there is one for TensorRT 10.9.0 on NVIDIA GeForce RTX 3060, SM 8.6" in str(caught.value)
    assert f"icface-build-engine {bundle.path} --backend tensorrt --precision fp16" in str(caught.value)
    assert find_built(bundle, "tensorrt", "fp16", TARGET).content == b"plan"


def test_what_was_refused_is_not_found_and_says_why(cache_dir: Path) -> None:
    bundle = Bundle.load(geometry_alone())
    key = EngineKey.of(bundle, "tensorrt", "int8", TARGET)
    EngineCache().store(key, b"", {"refused": "int8 against fp32: 31.0 dB"})
    with pytest.raises(
        RefusedError, match=r"tensorrt:int8 is not used for edge geometry: int8 against fp32: 31\.0 dB"
    ):
        find_built(bundle, "tensorrt", "int8", TARGET)


def test_descriptions_that_are_none_are_passed_over(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    for number, text in enumerate(("{", "[]", json.dumps({"model": KEY.model}))):
        folder = tmp_path / "engines" / f"strange{number}"
        folder.mkdir(parents=True)
        (folder / FACTS).write_text(text)
    assert cache.others(KEY) == []
