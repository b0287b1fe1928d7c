"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from icface.files import replacing_file, replacing_folder, write_file


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("content", "expected"), [("Größe\n", "Größe\n".encode()), (b"\0\xff", b"\0\xff")])
def test_a_file_is_written_and_replaces_an_older_one(
    tmp_path: Path, content: bytes | str, expected: bytes
) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for _ in range(2):
        write_file(path, content)
        assert path.read_bytes() == expected
        assert names(path.parent) == {"file"}


def test_until_it_is_whole_the_older_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing_file(path) as unfinished:
        unfinished.write_text("half")
        assert path.read_text() == "old" and unfinished.parent == tmp_path
    assert path.read_text() == "half" and names(tmp_path) == {"file"}


def test_a_failure_leaves_the_older_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stopped"), replacing_file(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError("stopped")
    assert path.read_text() == "old" and names(tmp_path) == {"file"}


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing_file(tmp_path / "file"):
        pass
    assert names(tmp_path) == set()


def test_a_folder_in_the_way_stays(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        write_file(tmp_path / "file", "new")
    assert (tmp_path / "file").is_dir() and names(tmp_path) == {"file"}


def test_threads_that_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    """Each has a file of its own until it is whole; the one that ends last wins."""
    path = tmp_path / "file"
    inside = threading.Barrier(2, timeout=30)
    failed: list[BaseException] = []

    def write(text: str) -> None:
        try:
            with replacing_file(path) as unfinished:
                unfinished.write_text(text)
                inside.wait()
                assert unfinished.read_text() == text
                inside.wait()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    assert path.read_text() in ("a" * 1000, "b" * 1000) and names(tmp_path) == {"file"}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model"
    for content in ("first", "second"):
        with replacing_folder(path) as unfinished:
            (unfinished / f"{content}.txt").write_text(content)
            assert content == "first" or names(path) == {"first.txt"}
        assert names(path) == {f"{content}.txt"}
        assert names(path.parent) == {"model"}


def test_a_failure_leaves_the_older_folder_alone(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with replacing_folder(path) as unfinished:
        (unfinished / "old").touch()
    with pytest.raises(RuntimeError, match="stopped"), replacing_folder(path) as unfinished:
        (unfinished / "new").touch()
        raise RuntimeError("stopped")
    assert names(path) == {"old"} and names(tmp_path) == {"model"}


def test_a_folder_that_cannot_be_moved_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older folder is out of the way when the new one fails to take its place."""
    path = tmp_path / "model"
    with replacing_folder(path) as unfinished:
        (unfinished / "old").touch()
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith("part"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="No space left"), replacing_folder(path) as unfinished:
        (unfinished / "new").touch()
    assert names(path) == {"old"} and names(tmp_path) == {"model"}
