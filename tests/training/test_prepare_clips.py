"""Which clips are found, who is in them, and who is kept for testing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from icface.errors import ConfigError, SourceError
from training.preparation.clips import find_clips
from training.preparation.frame_folders import times_of
from training.preparation.split import Wanted, split_identities, too_few


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


def split(names: Sequence[str], validation: float, test: float, seed: int = 20) -> dict[str, tuple[str, ...]]:
    return split_identities([names], Wanted(shares={"validation": validation, "test": test}), seed)


def test_persons_are_kept_for_validation_and_for_testing() -> None:
    names = [f"id{n:03d}" for n in range(100)]
    splits = split(names, 0.1, 0.25)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [65, 10, 25]
    assert sorted(name for people in splits.values() for name in people) == names
    assert split(names[::-1], 0.1, 0.25) == splits
    assert split(names, 0.1, 0.25, seed=21)["test"] != splits["test"]
    # Who is tested on does not depend on the share for validation.
    assert split(names, 0.0, 0.25)["test"] == splits["test"]


def test_a_new_person_hardly_moves_the_others() -> None:
    names = [f"id{n:03d}" for n in range(100)]
    before, after = split(names, 0.1, 0.25), split([*names, "new"], 0.1, 0.25)
    for name in ("validation", "test"):
        assert len(set(before[name]) ^ set(after[name])) <= 3


@pytest.mark.parametrize(
    ("count", "validation", "test", "found"),
    [
        (1, 0.1, 0.25, (1, 0, 0)),
        (2, 0.1, 0.25, (1, 0, 1)),
        (2, 0.1, 0.89, (1, 0, 1)),
        (2, 0.1, 0.0, (1, 1, 0)),
        (3, 0.0, 0.0, (3, 0, 0)),
        (3, 0.1, 0.25, (1, 1, 1)),
        (4, 0.1, 0.25, (2, 1, 1)),
        (10, 0.5, 0.49, (1, 4, 5)),
    ],
)
def test_few_persons(count: int, validation: float, test: float, found: tuple[int, int, int]) -> None:
    splits = split([f"id{n}" for n in range(count)], validation, test)
    assert tuple(len(splits[name]) for name in ("train", "validation", "test")) == found


def test_too_few_persons_say_so_in_one_line() -> None:
    wanted = Wanted(shares={"validation": 0.1, "test": 0.25})
    said = too_few(split_identities([["a", "b"]], wanted, 20), wanted)
    assert said == (
        "nobody is left for validation (train.py will choose best.safetensors on people whom it trains on): there "
        "are only 1 persons to train on and 1 to test on; add clips of others"
    )
    alone = too_few(split_identities([["a"]], wanted, 20), wanted)
    assert (
        alone is not None and "nobody is left for test and validation" in alone and "--split train" in alone
    )
    assert too_few(split_identities([["a", "b", "c"]], wanted, 20), wanted) is None
    nobody = Wanted(shares={"validation": 0.0, "test": 0.0})
    assert too_few(split_identities([["a"]], nobody, 20), nobody) is None


def named(names: Sequence[str], **patterns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return split_identities([names], Wanted(shares={"validation": 0.1, "test": 0.25}, names=patterns), 20)


def test_persons_can_be_named() -> None:
    names = ["id1", "id2", "other", "id[3]"]
    both = named(names, test=["id?"], validation=["other"])
    assert both == {"train": ("id[3]",), "validation": ("other",), "test": ("id1", "id2")}
    assert named(names, test=["other", "id1"])["test"] == ("id1", "other")
    # The other split is drawn from those who are left.
    rest = named(names, test=["id?"])
    assert (len(rest["train"]), len(rest["validation"])) == (1, 1)
    assert named(["a", "b"], test=["a"]) == {"train": ("b",), "validation": (), "test": ("a",)}
    drawn = named(names, validation=["other"])
    assert drawn["validation"] == ("other",) and len(drawn["test"]) == 1


def test_names_that_cannot_be_are_refused() -> None:
    names = ["id1", "id2", "other", "id[3]"]
    with pytest.raises(
        ConfigError, match="--test-identity nobody: there is no such person; there are id1, id2"
    ):
        named(names, test=["id1", "nobody"])
    with pytest.raises(ConfigError, match="--validation-identity x: there is no such person"):
        named(names, validation=["x"])
    with pytest.raises(ConfigError, match="--test-identity: nobody is left to train on"):
        named(names, test=["*"])
    with pytest.raises(ConfigError, match="--test-identity and --validation-identity: nobody is left"):
        named(names, test=["id*"], validation=["other"])
    with pytest.raises(ConfigError, match="--test-identity and --validation-identity both name id1"):
        named(names, test=["id1"], validation=["id*"])


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
