"""A data set read back: every frame where the index says, pairs that can be resumed, and damage that is named."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from icface.attributes import mirror
from icface.errors import ConfigError
from tests.training.tiny_data import make_tiny_dataset, picture
from training.dataset import FaceTracks, PairConfig, PairDataset, PortraitDataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tracks(folder: Path) -> FaceTracks:
    return FaceTracks(folder)


def as_image(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1))


def test_every_row_gives_the_frame_that_was_written(tracks: FaceTracks) -> None:
    assert len(tracks.index.shards) > 1
    for track in tracks.tracks:
        identity = int(track.identity.removeprefix("person"))
        for frame, row in enumerate(track.rows):
            wanted = picture(identity, frame, 32).astype(int)
            error = np.abs(tracks.frame(row).astype(int) - wanted)
            assert error[:, 2:13].max() <= 3 and error[:, 19:30].max() <= 3  # JPEG; the middle is an edge
            assert tracks.tracks[tracks.track_of(row)] is track


@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # webdataset leaves shards to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_shards_are_what_webdataset_reads(tracks: FaceTracks, folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    seen = 0
    for shard in tracks.index.shards:
        for sample in webdataset.WebDataset(str(folder / shard.file), shardshuffle=False):
            row = int(sample["__key__"])
            record = json.loads(sample["json"])
            assert sample["jpg"] == tracks.jpeg(row)
            track = tracks.tracks[tracks.track_of(row)]
            assert (record["identity"], record["track"]) == (track.identity, track.name)
            assert record["frame"] == row - track.first
            assert record["time_s"] == pytest.approx(float(tracks.times_s[row]), abs=1e-4)
            np.testing.assert_allclose(record["attributes"], tracks.attributes[row], atol=1e-5)
            seen += 1
    assert seen == tracks.index.rows


def test_shards_are_plain_tar(tracks: FaceTracks, folder: Path) -> None:
    with tarfile.open(folder / tracks.index.shards[0].file) as tar:
        members = tar.getmembers()
        assert [m.name for m in members[:4]] == [
            "00000000.jpg",
            "00000000.json",
            "00000001.jpg",
            "00000001.json",
        ]
        assert tar.extractfile(members[2]).read() == tracks.jpeg(1)  # type: ignore[union-attr]


def test_the_same_data_make_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = make_tiny_dataset(tmp_path / "again")
    assert (again / "index.json").read_bytes() == (folder / "index.json").read_bytes()


def test_splits_share_no_identity_and_training_identities_are_numbered_from_0(tracks: FaceTracks) -> None:
    train, test = tracks.split("train"), tracks.split("test")
    assert sorted((*train, *test)) == list(range(len(tracks.tracks)))
    assert not {tracks.tracks[n].identity for n in train} & {tracks.tracks[n].identity for n in test}
    assert {tracks.identity_number(n) for n in train} == {0, 1, 2}
    assert {tracks.identity_number(n) for n in test} == {3}
    with pytest.raises(ConfigError, match="split 'all' is unknown; choose train or test"):
        tracks.split("all")


def test_an_item_depends_on_seed_and_number_alone(folder: Path) -> None:
    there, here = PairDataset(FaceTracks(folder)), PairDataset(FaceTracks(folder))
    forwards = [there.item(i) for i in range(12)]
    for i in reversed(range(12)):  # another order, as after a resume
        for name, value in here.item(i).items():
            assert torch.equal(value, forwards[i][name])
    assert here.rows(10**12) == there.rows(10**12)
    other = PairDataset(FaceTracks(folder), config=PairConfig(seed=21))
    assert [other.rows(i) for i in range(12)] != [here.rows(i) for i in range(12)]


def test_a_pair_is_two_frames_of_one_track_with_their_attributes(tracks: FaceTracks) -> None:
    pairs = PairDataset(tracks, config=PairConfig(flip=False))
    assert len(pairs) == 36
    seen = set()
    for i in range(200):
        source, driving, flipped = pairs.rows(i)
        assert source != driving and not flipped
        number = tracks.track_of(source)
        assert number == tracks.track_of(driving) and number in tracks.split("train")
        seen.add((source, driving))
        if i < 20:
            item = pairs.item(i)
            assert torch.equal(item["source"], as_image(tracks.frame(source)))
            assert torch.equal(item["driving"], as_image(tracks.frame(driving)))
            assert torch.equal(item["source_attributes"], torch.from_numpy(tracks.attributes[source].copy()))
            assert torch.equal(
                item["driving_attributes"], torch.from_numpy(tracks.attributes[driving].copy())
            )
            assert int(item["identity"]) == tracks.identity_number(number)
            assert item["source"].dtype == torch.float32 and float(item["source"].abs().max()) <= 1
    assert len(seen) > 100  # of 6 tracks × 30 pairs


def test_a_flip_mirrors_both_pictures_and_both_attributes(tracks: FaceTracks) -> None:
    flipping, straight = PairDataset(tracks), PairDataset(tracks, config=PairConfig(flip=False))
    flips = [flipping.rows(i)[2] for i in range(40)]
    assert 10 < sum(flips) < 30
    for i, flipped in enumerate(flips):
        mirrored, plain = flipping.item(i), straight.item(i)
        for part in ("source", "driving"):
            picture_, values = plain[part], plain[f"{part}_attributes"].numpy()
            if flipped:
                picture_, values = picture_.flip(2), mirror(values)
            assert torch.equal(mirrored[part], picture_)
            np.testing.assert_array_equal(mirrored[f"{part}_attributes"].numpy(), values)
    blue = flipping.item(flips.index(True))["source"][2]
    assert float(blue[:, :12].mean()) > 0.5 > float(blue[:, -12:].mean())  # blue was the right half


@pytest.mark.parametrize(("sampling", "part"), [("pose", slice(0, 3)), ("expression", slice(3, 20))])
def test_sampling_prefers_driving_frames_that_differ(tracks: FaceTracks, sampling: Any, part: slice) -> None:
    def mean_distance(mode: Any) -> float:
        pairs = PairDataset(tracks, config=PairConfig(sampling=mode))
        rows = [pairs.rows(i)[:2] for i in range(600)]
        assert all(a != b for a, b in rows)
        return float(
            np.mean(
                [np.linalg.norm(tracks.attributes[a, part] - tracks.attributes[b, part]) for a, b in rows]
            )
        )

    assert mean_distance(sampling) > 1.03 * mean_distance("uniform")


def test_sampling_by_expression_works_where_nothing_moves(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path)
    still = np.full((48, 20), 0.5, dtype=np.float32)
    np.save(table(folder, "attributes.npy"), still)
    pairs = PairDataset(FaceTracks(folder), config=PairConfig(sampling="expression"))
    assert len({pairs.rows(i)[:2] for i in range(100)}) > 30


def test_portraits_get_attributes_of_another_track(tracks: FaceTracks) -> None:
    portraits = PortraitDataset(tracks, flip=False)
    for i in range(60):
        portrait, other = portraits.rows(i)
        assert tracks.track_of(portrait) != tracks.track_of(other)
        assert {tracks.track_of(portrait), tracks.track_of(other)} <= set(tracks.split("train"))
        item = portraits.item(i)
        assert torch.equal(item["portrait"], as_image(tracks.frame(portrait)))
        np.testing.assert_array_equal(item["portrait_attributes"], tracks.attributes[portrait])
        np.testing.assert_array_equal(item["random_attributes"], tracks.attributes[other])


def test_mirrored_portraits_have_mirrored_attributes(tracks: FaceTracks) -> None:
    flipping, straight = PortraitDataset(tracks), PortraitDataset(tracks, flip=False)
    asked = set()
    for i in range(30):
        one, plain = flipping.item(i), straight.item(i)
        flipped = not torch.equal(one["portrait"], plain["portrait"])
        values = plain["portrait_attributes"].numpy()
        np.testing.assert_array_equal(one["portrait_attributes"], mirror(values) if flipped else values)
        asked.add((flipped, bool(torch.equal(one["random_attributes"], plain["random_attributes"]))))
    assert len(asked) == 4  # two coins


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_read_the_same(tracks: FaceTracks, start: str) -> None:
    tracks.frame(0)  # an open file that a forked worker inherits
    pairs = PairDataset(tracks, length=8)
    context = multiprocessing.get_context(start)
    loader = DataLoader(pairs, batch_size=4, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    for i in range(8):
        assert torch.equal(batches[i // 4]["driving"][i % 4], pairs.item(i)["driving"])


def test_threads_read_the_same(tracks: FaceTracks) -> None:
    rows = list(range(tracks.index.rows)) * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tracks.frame, rows))
    for row, frame in zip(rows[:48], found, strict=False):
        np.testing.assert_array_equal(frame, tracks.frame(row))


def test_a_data_set_of_the_first_format_is_read(folder: Path, tmp_path: Path) -> None:
    """Its files had fixed names, and its index did not name the tables."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    index = json.loads((old / "index.json").read_text())
    index["format"] = 1
    for kind, file in index.pop("tables").items():
        (old / file).rename(old / kind)
    for number, shard in enumerate(index["shards"]):
        plain = f"shards/{number:05d}.tar"
        (old / shard["file"]).rename(old / plain)
        shard["file"] = plain
    (old / "index.json").write_text(json.dumps(index))
    then, now = FaceTracks(old), FaceTracks(folder)
    then.verify()
    np.testing.assert_array_equal(then.frame(9), now.frame(9))
    np.testing.assert_array_equal(then.attributes, now.attributes)
    # Packed anew, nothing of it stays behind.
    make_tiny_dataset(old)
    assert sorted(p.name for p in old.rglob("*")) == sorted(p.name for p in folder.rglob("*"))


# What can be wrong with a data set.


def table(folder: Path, kind: str) -> Path:
    return folder / str(json.loads((folder / "index.json").read_text())["tables"][kind])


def damaged(tmp_path: Path, change: Any) -> Path:
    folder = make_tiny_dataset(tmp_path / "data")
    index = json.loads((folder / "index.json").read_text())
    change(folder, index)
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def cut_shard(folder: Path, index: dict[str, Any]) -> None:
    path = folder / index["shards"][0]["file"]
    path.write_bytes(path.read_bytes()[:-1000])


def lost_shard(folder: Path, index: dict[str, Any]) -> None:
    (folder / index["shards"][1]["file"]).unlink()


def outside(folder: Path, index: dict[str, Any]) -> None:
    index["shards"][0]["file"] = "../../etc/passwd"


def outside_within(folder: Path, index: dict[str, Any]) -> None:
    index["shards"][0]["file"] = "shards/../../other.tar"


def leak(folder: Path, index: dict[str, Any]) -> None:
    index["splits"]["test"].append("person0")


def shifted_rows(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][1]["first"] = 5


def unknown_shard(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][1]["shard"] = 9


def negative_shard(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][1]["shard"] = -1


def future(folder: Path, index: dict[str, Any]) -> None:
    index["format"] = 3


def other_alignment(folder: Path, index: dict[str, Any]) -> None:
    index["alignment"] = "ears"


def no_tracks(folder: Path, index: dict[str, Any]) -> None:
    del index["tracks"]


def no_number(folder: Path, index: dict[str, Any]) -> None:
    values = np.load(table(folder, "attributes.npy"))
    values[3, 3] = np.nan
    np.save(table(folder, "attributes.npy"), values)


def short_table(folder: Path, index: dict[str, Any]) -> None:
    np.save(table(folder, "times.npy"), np.zeros(5, dtype=np.float32))


def pickled_table(folder: Path, index: dict[str, Any]) -> None:
    np.save(table(folder, "times.npy"), np.array([{}], dtype=object), allow_pickle=True)


def wild_offset(folder: Path, index: dict[str, Any]) -> None:
    places = np.load(table(folder, "frames.npy"))
    places[2] = 2**62, 2**62
    np.save(table(folder, "frames.npy"), places)


def table_elsewhere(folder: Path, index: dict[str, Any]) -> None:
    index["tables"]["times.npy"] = "../times.npy"


def tables_exchanged(folder: Path, index: dict[str, Any]) -> None:
    index["tables"]["times.npy"] = index["tables"]["attributes.npy"]


def no_tables(folder: Path, index: dict[str, Any]) -> None:
    del index["tables"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_shard, r"00000-\w{12}.tar has 61464 bytes instead of 62464"),
        (lost_shard, r"cannot read .*00001-\w{12}.tar: No such file"),
        (outside, "a name or a sha256 that no shard can have"),
        (outside_within, "a name or a sha256 that no shard can have"),
        (leak, "'person0' is in train and in test"),
        (shifted_rows, "does not follow"),
        (unknown_shard, "does not follow"),
        (negative_shard, "-1 is no whole number"),
        (future, "format 3 is not known, only 1 and 2"),
        (other_alignment, "alignment 'ears' is not known"),
        (no_tracks, "a field is missing or wrong: 'tracks'"),
        (no_number, r"attributes-\w{12}.npy has values outside 0 to 1"),
        (short_table, r"times-\w{12}.npy is float32 \(5,\) instead of float32 \(48,\)"),
        (pickled_table, r"cannot read .*times-\w{12}.npy"),
        (wild_offset, "points outside the shards"),
        (table_elsewhere, "'../times.npy' is no name that the table times.npy can have"),
        (tables_exchanged, "is no name that the table times.npy can have"),
        (no_tables, "a field is missing or wrong: 'tables'"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        FaceTracks(damaged(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no data set .* run training/prepare.py"):
        FaceTracks(tmp_path)


def test_changed_bytes_are_found_by_their_hash_and_a_broken_picture_by_its_decoder(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path)
    shard = folder / FaceTracks(folder).index.shards[0].file
    content = bytearray(shard.read_bytes())
    content[512:700] = bytes(188)  # in the first picture
    shard.write_bytes(content)
    tracks = FaceTracks(folder)
    with pytest.raises(ConfigError, match=r"frame 0 in .* is no picture of 32 pixels"):
        tracks.frame(0)
    with pytest.raises(ConfigError, match="its sha256 is another"):
        tracks.verify()


def test_a_picture_of_another_size_is_refused(tracks: FaceTracks, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((20, 20, 3), dtype=np.uint8))[1].tobytes()
    monkeypatch.setattr(tracks, "jpeg", lambda row: jpeg)
    with pytest.raises(ConfigError, match="no picture of 32 pixels"):
        tracks.frame(0)


def test_pairs_need_tracks_of_two_frames(tmp_path: Path) -> None:
    tracks = FaceTracks(make_tiny_dataset(tmp_path, frames=1))
    with pytest.raises(ConfigError, match="no clip of two frames"):
        PairDataset(tracks)
    assert PortraitDataset(tracks).item(0)["portrait"].shape == (3, 32, 32)


def test_tables_are_mapped_not_read(tracks: FaceTracks) -> None:
    assert isinstance(tracks.attributes, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tracks.attributes[0, 0] = 1.0
