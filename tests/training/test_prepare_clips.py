"""Which clips are found, who is in them, and who is kept for testing."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.errors import ConfigError, SourceError
from training.preparation.clips import find_clips
from training.preparation.frame_folders import times_of
from training.preparation.pack import split_by_name, split_identities


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_the_layout_of_voxceleb(tmp_path: Path) -> None:
    touch(tmp_path, "id1/abc/00002.mp4", "id1/abc/00001.mp4", "id2/x/y/1.MKV", "id2/x/y/1.csv")
    clips = find_clips([tmp_path])
    assert [(c.name, c.identity, c.video) for c in clips] == [
        ("id1/abc/00001", "id1", "abc"),
        ("id1/abc/00002", "id1", "abc"),
        ("id2/x/y/1", "id2", "x/y"),
    ]
    assert [c.csv for c in clips] == [None, None, tmp_path / "id2/x/y/1.csv"]


def test_clips_without_folders_are_persons_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "anna.mp4", "ben.avi", "notes.txt")
    assert [(c.name, c.identity, c.video) for c in find_clips([tmp_path])] == [
        ("anna", "anna", "anna"),
        ("ben", "ben", "ben"),
    ]


def test_each_file_or_all_of_a_folder_can_be_a_person(tmp_path: Path) -> None:
    folder = touch(tmp_path / "s1", "a/one.mpg", "b/two.mpg")
    assert {c.identity for c in find_clips([folder], identity_from="file")} == {"one", "two"}
    together = find_clips([folder], identity_from="one")
    assert [(c.name, c.identity) for c in together] == [("s1/a/one", "s1"), ("s1/b/two", "s1")]


def test_one_file_may_be_given(tmp_path: Path) -> None:
    touch(tmp_path, "anna.mp4", "other.mp4")
    assert [c.name for c in find_clips([tmp_path / "anna.mp4"])] == ["anna"]


def test_portraits_are_persons_of_their_own(tmp_path: Path) -> None:
    folder = touch(tmp_path / "faces", "a.jpg", "b/a.PNG", "list.csv")
    clips = find_clips([], [folder])
    assert [(c.name, c.identity, c.video, c.is_portrait) for c in clips] == [
        ("faces-a/portrait", "faces-a", "portrait", True),
        ("faces-b-a/portrait", "faces-b-a", "portrait", True),
    ]


def test_unfinished_and_hidden_files_are_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a/v/1.mp4", "a/v/2.part.mp4", "a/v/.3.mp4")
    assert [c.name for c in find_clips([tmp_path])] == ["a/v/1"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    real = touch(tmp_path / "elsewhere", "v/1.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "anna").symlink_to(real)
    (real / "v" / "up").symlink_to(real)
    assert [c.name for c in find_clips([tmp_path / "videos"])] == ["anna/v/1"]


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "one", "id/v/1.mp4"), touch(tmp_path / "two", "id/v/1.mkv")
    with pytest.raises(ConfigError, match="are both called id/v/1; rename one"):
        find_clips([one, two])


def test_nothing_to_prepare_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found no videos in"):
        find_clips([tmp_path])
    with pytest.raises(ConfigError, match="neither a folder nor a file"):
        find_clips([tmp_path / "missing"])


def test_a_quarter_of_the_persons_is_kept_for_testing() -> None:
    names = [f"id{n:03d}" for n in range(100)]
    splits = split_identities(names, 0.25, seed=20)
    assert len(splits["test"]) == 25
    assert sorted((*splits["train"], *splits["test"])) == names
    assert split_identities(names[::-1], 0.25, seed=20) == splits
    assert split_identities(names, 0.25, seed=21)["test"] != splits["test"]


def test_a_new_person_hardly_moves_the_others() -> None:
    names = [f"id{n:03d}" for n in range(100)]
    before = set(split_identities(names, 0.25, seed=20)["test"])
    after = set(split_identities([*names, "new"], 0.25, seed=20)["test"])
    assert len(before ^ after) <= 2


@pytest.mark.parametrize(
    ("count", "share", "tested"), [(1, 0.25, 0), (2, 0.25, 1), (2, 0.99, 1), (3, 0.0, 0), (0, 0.25, 0)]
)
def test_few_persons(count: int, share: float, tested: int) -> None:
    splits = split_identities([f"id{n}" for n in range(count)], share, seed=20)
    assert (len(splits["train"]), len(splits["test"])) == (count - tested, tested)


def test_persons_to_test_on_can_be_named() -> None:
    names = ["id1", "id2", "other", "id[3]"]
    assert split_by_name(names, ["id?"]) == {"train": ("id[3]", "other"), "test": ("id1", "id2")}
    assert split_by_name(names, ["other", "id1"])["test"] == ("id1", "other")
    with pytest.raises(
        ConfigError, match="--test-identity nobody: there is no such person; there are id1, id2"
    ):
        split_by_name(names, ["id1", "nobody"])
    with pytest.raises(ConfigError, match="leaves nobody to train on"):
        split_by_name(names, ["*"])


def test_folders_of_face_crops(tmp_path: Path) -> None:
    """VoxCeleb's layout, in which 1.6 is no video, and any other."""
    touch(tmp_path, "Anna_B/1.6/xyz/0000025.jpg", "Anna_B/1.6/xyz/0000050.jpg", "Anna_B/1.6/xyz.csv")
    touch(tmp_path, "id2/vid/00001/1.PNG", "id2/vid/00002/1.png", "id3/7.jpg", "id3/.8.jpg", "id4/talk.mp4")
    clips = find_clips([], frames=[tmp_path], frame_rate=30)
    assert [(c.name, c.identity, c.video) for c in clips] == [
        ("Anna_B/1.6/xyz", "Anna_B", "xyz"),
        ("id2/vid/00001", "id2", "vid"),
        ("id2/vid/00002", "id2", "vid"),
        ("id3", "id3", "id3"),
    ]
    assert [c.csv for c in clips] == [tmp_path / "Anna_B/1.6/xyz.csv", None, None, None]
    assert {c.frame_rate for c in clips} == {30}
    assert [path.name for path in clips[0].files] == ["0000025.jpg", "0000050.jpg"]
    # Without being asked for, pictures beside videos are not taken.
    assert [c.name for c in find_clips([tmp_path])] == ["id4/talk"]


@pytest.mark.parametrize(
    ("identity_from", "who"), [("folder", ["a", "b"]), ("file", ["a-x", "b-y"]), ("one", ["top", "top"])]
)
def test_who_a_folder_of_pictures_shows(tmp_path: Path, identity_from: str, who: list[str]) -> None:
    folder = touch(tmp_path / "top", "a/x/1.jpg", "b/y/1.jpg")
    assert [c.identity for c in find_clips([], (), identity_from, [folder])] == who


def test_no_pictures_to_prepare_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found no pictures in .*; expected .* with --frames folders as"):
        find_clips([], frames=[tmp_path])
    with pytest.raises(ConfigError, match="is not a folder; --frames takes folders of pictures"):
        find_clips([], frames=[tmp_path / "missing"])


def test_names_of_pictures_tell_their_times() -> None:
    names = ["0000025.jpg", "frame_det_00_000050.png", "7.5.bmp"]
    assert times_of([Path(name) for name in names], 25.0) == [1.0, 2.0, 7.5]
    with pytest.raises(SourceError, match=r"anna\.jpg has no number at the end of its name"):
        times_of([Path("anna.jpg")], 25.0)
    with pytest.raises(SourceError, match=r"1\.jpg and 01\.png have the same number"):
        times_of([Path("1.jpg"), Path("01.png")], 25.0)
