"""What every test shares: where the face material lies, a cache folder of its own, seeded randomness."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2  # noqa: F401 - windows hang where PyAV, and its libxcb, was loaded first
import numpy as np
import pytest

from icface.bundle import Bundle

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
CLIP = "data/clips/WolfgangLanger_Pexels.mp4"

_cache_folder: tempfile.TemporaryDirectory[str] | None = None

NEEDS_TRAINING: re.Pattern[str] = re.compile(
    r"^\s*(?:from|import) (?:torch|scipy|export|training|benchmarks|icface\.networks|tests\.export|tests\.training)\b",
    re.MULTILINE,
)
HAS_TRAINING = all(importlib.util.find_spec(name) for name in ("torch", "scipy"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the test files of training and export where `.[test]` alone is installed."""
    if not HAS_TRAINING and collection_path == REPOSITORY / "tests/training":
        return True
    if HAS_TRAINING or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    return True if NEEDS_TRAINING.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_report_header() -> str:
    """Say what is left out."""
    return "" if HAS_TRAINING else 'tests of training and export are left out; pip install ".[test-all]"'


def pytest_configure(config: pytest.Config) -> None:
    """Point the product's cache at an empty folder before any test module is imported.

    Commands that tests start inherit it, so that no test reads what an earlier run cached for the user.
    """
    global _cache_folder
    _cache_folder = tempfile.TemporaryDirectory(prefix="icface-tests-", ignore_cleanup_errors=True)
    os.environ["ICFACE_CACHE_DIR"] = _cache_folder.name


def pytest_unconfigure(config: pytest.Config) -> None:
    if _cache_folder is not None:
        _cache_folder.cleanup()


def shared_file(relative: str) -> Path:
    """A file of the face material beside the repository; the test is skipped where it is missing."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"face material ../shared/{relative} is not on this machine")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout the tests lie in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of face material (photos, clips, landmark models) beside the repository."""
    return shared_file("data").parent


@pytest.fixture(scope="session")
def shared_clip() -> Path:
    """A real person talking to a camera: 472 frames, 21° of yaw, good blinks."""
    return shared_file(CLIP)


@pytest.fixture(scope="session")
def corrected_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The edge bundle with a small corrector of random weights. Its graphs take seconds to write."""
    pytest.importorskip("torch")
    from tests.export.correctors import pack_random

    return pack_random(tmp_path_factory.mktemp("corrected") / "c.icface")


@pytest.fixture(scope="session")
def calming_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same with a small neutraliser of random weights."""
    pytest.importorskip("torch")
    from tests.export.correctors import pack_random

    return pack_random(tmp_path_factory.mktemp("calming") / "c.icface", calms=True)


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder for one test alone."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("ICFACE_CACHE_DIR", str(folder))
    yield folder


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers at every run."""
    return np.random.default_rng(20)


@pytest.fixture
def corner_frame() -> np.ndarray:
    """An odd-sized (45, 61, 3) RGB frame with a different colour in each corner: red, green, blue, white."""
    frame = np.full((45, 61, 3), 40, dtype=np.uint8)
    frame[:9, :9] = (255, 0, 0)
    frame[:9, -9:] = (0, 255, 0)
    frame[-9:, :9] = (0, 0, 255)
    frame[-9:, -9:] = (255, 255, 255)
    return frame
