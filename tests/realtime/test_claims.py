"""Two runs and one output."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.errors import DeviceError
from realtime.claims import claimed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ICFACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    (tmp_path / "link").symlink_to(tmp_path)
    with claimed(output):
        for again in (output, tmp_path / "link" / "out.mp4"):
            with pytest.raises(DeviceError, match="is being written by another run"), claimed(again):
                pass
        with claimed(tmp_path / "other.mp4"):
            pass
    with claimed(output):
        assert not output.exists()
        assert {path.name for path in tmp_path.iterdir()} == {"cache", "link"}


def test_a_run_that_failed_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "out.mp4"):
        raise ZeroDivisionError
    with claimed(tmp_path / "out.mp4"):
        pass


def test_where_nothing_can_be_locked_the_run_goes_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file, where the folder should be")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(cache))
    with claimed(tmp_path / "out.mp4"):
        pass
