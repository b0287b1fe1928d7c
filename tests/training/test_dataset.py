"""A data set read back: every frame where the index says, pairs that can be resumed, and damage that is named."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from icface.attributes import mirror, to_openface
from icface.errors import ConfigError
from tests.training.tiny_data import make_tiny_dataset, picture, tiny_tracks
from training.dataset.index import SPLITS
from training.dataset.pairs import PairConfig, PairDataset, PortraitDataset
from training.dataset.reading import FaceTracks, Values
from training.dataset.writing import write_dataset
from training.learning.paper.validation import validation_pairs


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


def test_shards_are_files_that_any_arrow_reader_reads(tracks: FaceTracks, folder: Path) -> None:
    values, row = tracks.all_values(), 0
    for shard in tracks.index.shards:
        table = pa.ipc.open_file(str(folder / shard.file)).read_all()
        for record in table.to_pylist():
            assert record["jpeg"] == tracks.jpeg(row)
            np.testing.assert_array_equal(record["attributes"], values.attributes[row])
            assert record["time_s"] == values.times_s[row]
            assert record["presence"] == [-1] * 17
            row += 1
    assert row == tracks.index.rows


def test_a_track_lies_in_one_shard_and_one_batch(tracks: FaceTracks, folder: Path) -> None:
    batches = 0
    for number, shard in enumerate(tracks.index.shards):
        assert 25_000 <= shard.bytes < 35_000 or number == len(tracks.index.shards) - 1
        reader = pa.ipc.open_file(str(folder / shard.file))
        frames = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        assert frames == [t.frames for t in tracks.tracks if t.shard == number]
        batches += len(frames)
    assert batches == len(tracks.tracks)


def test_values_are_those_that_were_written(tracks: FaceTracks) -> None:
    whole = tracks.all_values()
    for number, (track, data) in enumerate(zip(tracks.tracks, tiny_tracks(4, 2, 6, 32), strict=True)):
        rows = slice(track.first, track.first + track.frames)
        for found in (
            tracks.values(number),
            Values(whole.attributes[rows], whole.times_s[rows], whole.presence[rows]),
        ):
            np.testing.assert_array_equal(found.attributes, data.attributes)
            np.testing.assert_array_equal(found.times_s, data.times_s)
            np.testing.assert_array_equal(found.presence, data.presence)
    mixed = [7, 40, 2]
    np.testing.assert_array_equal(tracks.values_of(mixed).attributes, whole.attributes[mixed])


def test_the_same_data_make_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = make_tiny_dataset(tmp_path / "again")
    assert (again / "index.json").read_bytes() == (folder / "index.json").read_bytes()


def test_splits_share_no_identity_and_training_identities_are_numbered_from_0(tracks: FaceTracks) -> None:
    train, test = tracks.split("train"), tracks.split("test")
    assert sorted((*train, *test)) == list(range(len(tracks.tracks)))
    assert not {tracks.tracks[n].identity for n in train} & {tracks.tracks[n].identity for n in test}
    assert {tracks.identity_number(n) for n in train} == {0, 1, 2}
    assert {tracks.identity_number(n) for n in test} == {3}
    with pytest.raises(ConfigError, match="split 'all' is unknown; choose train, validation or test"):
        tracks.split("all")


def test_people_for_validation_are_a_split_of_their_own(tmp_path: Path) -> None:
    tracks = FaceTracks(make_tiny_dataset(tmp_path, validated=1))
    of_split = {name: {tracks.tracks[n].identity for n in tracks.split(name)} for name in SPLITS}
    assert of_split == {"train": {"person0", "person1"}, "validation": {"person2"}, "test": {"person3"}}
    assert [tracks.identity_number(n) for n in tracks.split("validation")] == [2, 2]


def test_the_best_model_is_chosen_on_people_for_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def people(folder: Path) -> set[str]:
        tracks = FaceTracks(folder)
        pairs = validation_pairs(tracks)
        return {tracks.tracks[tracks.track_of(row)].identity for i in range(40) for row in pairs.rows(i)[:2]}

    assert people(make_tiny_dataset(tmp_path / "new", validated=1)) == {"person2"}
    assert not caplog.records
    # An index of an earlier version knows two splits. Those who are reported do not choose.
    old = make_tiny_dataset(tmp_path / "old")
    index = json.loads((old / "index.json").read_text())
    del index["splits"]["validation"]
    (old / "index.json").write_text(json.dumps(index))
    assert people(old) == {"person0", "person1", "person2"}
    assert [record.getMessage() for record in caplog.records] == [
        f"{old} has nobody for validation: best.safetensors is chosen on people who are trained on; prepare the data "
        "again with --validation-share or --validation-identity"
    ]


def test_an_item_depends_on_seed_and_number_alone(folder: Path) -> None:
    there, here = PairDataset(FaceTracks(folder)), PairDataset(FaceTracks(folder))
    forwards = [there[i] for i in range(12)]
    for i in reversed(range(12)):  # another order, as after a resume
        for name, value in here[i].items():
            assert torch.equal(value, forwards[i][name])
    assert here.rows(10**12) == there.rows(10**12)
    other = PairDataset(FaceTracks(folder), config=PairConfig(seed=21))
    assert [other.rows(i) for i in range(12)] != [here.rows(i) for i in range(12)]


def test_a_pair_is_two_frames_of_one_track_with_their_attributes(tracks: FaceTracks) -> None:
    pairs = PairDataset(tracks, config=PairConfig(flip=False))
    seen = set()
    for i in range(200):
        source, driving, flipped = pairs.rows(i)
        assert source != driving and not flipped
        number = tracks.track_of(source)
        assert number == tracks.track_of(driving) and number in tracks.split("train")
        seen.add((source, driving))
        if i < 20:
            item = pairs[i]
            assert torch.equal(item["source"], as_image(tracks.frame(source)))
            assert torch.equal(item["driving"], as_image(tracks.frame(driving)))
            assert torch.equal(
                item["source_attributes"], torch.from_numpy(tracks.all_values().attributes[source].copy())
            )
            assert torch.equal(
                item["driving_attributes"], torch.from_numpy(tracks.all_values().attributes[driving].copy())
            )
            assert int(item["identity"]) == tracks.identity_number(number)
            assert item["source"].dtype == torch.float32 and float(item["source"].abs().max()) <= 1
    assert len(seen) > 100  # of 6 tracks × 30 pairs


def test_a_flip_mirrors_both_pictures_and_both_attributes(tracks: FaceTracks) -> None:
    flipping, straight = PairDataset(tracks), PairDataset(tracks, config=PairConfig(flip=False))
    flips = [flipping.rows(i)[2] for i in range(40)]
    assert 10 < sum(flips) < 30
    for i, flipped in enumerate(flips):
        mirrored, plain = flipping[i], straight[i]
        for part in ("source", "driving"):
            picture_, values = plain[part], plain[f"{part}_attributes"].numpy()
            if flipped:
                picture_, values = picture_.flip(2), mirror(values)
            assert torch.equal(mirrored[part], picture_)
            np.testing.assert_array_equal(mirrored[f"{part}_attributes"].numpy(), values)
    blue = flipping[flips.index(True)]["source"][2]
    assert float(blue[:, :12].mean()) > 0.5 > float(blue[:, -12:].mean())  # blue was the right half


@pytest.mark.parametrize(("sampling", "part"), [("pose", slice(0, 3)), ("expression", slice(3, 20))])
def test_sampling_prefers_driving_frames_that_differ(tracks: FaceTracks, sampling: Any, part: slice) -> None:
    def mean_distance(mode: Any) -> float:
        pairs = PairDataset(tracks, config=PairConfig(sampling=mode))
        rows = [pairs.rows(i)[:2] for i in range(600)]
        assert all(a != b for a, b in rows)
        return float(
            np.mean(
                [
                    np.linalg.norm(
                        tracks.all_values().attributes[a, part] - tracks.all_values().attributes[b, part]
                    )
                    for a, b in rows
                ]
            )
        )

    assert mean_distance(sampling) > 1.03 * mean_distance("uniform")


def test_sampling_by_expression_works_where_nothing_moves(tmp_path: Path) -> None:
    still = [
        replace(track, attributes=np.full_like(track.attributes, 0.5)) for track in tiny_tracks(4, 2, 6, 32)
    ]
    write_dataset(
        tmp_path,
        ([track] for track in still),
        splits={"train": ("person0", "person1", "person2"), "test": ("person3",)},
        size_px=32,
        attribute_source="tracker",
        seed=20,
    )
    pairs = PairDataset(FaceTracks(tmp_path), config=PairConfig(sampling="expression"))
    assert len({pairs.rows(i)[:2] for i in range(100)}) > 30


def test_portraits_get_attributes_of_another_track(tracks: FaceTracks) -> None:
    portraits = PortraitDataset(tracks, flip=False)
    for i in range(60):
        portrait, other, *_ = portraits.rows(i)
        assert tracks.track_of(portrait) != tracks.track_of(other)
        assert {tracks.track_of(portrait), tracks.track_of(other)} <= set(tracks.split("train"))
        item = portraits[i]
        assert torch.equal(item["portrait"], as_image(tracks.frame(portrait)))
        np.testing.assert_array_equal(item["portrait_attributes"], tracks.all_values().attributes[portrait])
        np.testing.assert_array_equal(item["random_attributes"], tracks.all_values().attributes[other])


def test_mirrored_portraits_have_mirrored_attributes(tracks: FaceTracks) -> None:
    flipping, straight = PortraitDataset(tracks), PortraitDataset(tracks, flip=False)
    asked = set()
    for i in range(30):
        one, plain = flipping[i], straight[i]
        flipped = not torch.equal(one["portrait"], plain["portrait"])
        values = plain["portrait_attributes"].numpy()
        np.testing.assert_array_equal(one["portrait_attributes"], mirror(values) if flipped else values)
        asked.add((flipped, bool(torch.equal(one["random_attributes"], plain["random_attributes"]))))
    assert len(asked) == 4  # two coins


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_read_the_same(tracks: FaceTracks, start: str) -> None:
    tracks.frame(0)  # an open file that a forked worker inherits
    pairs = PairDataset(tracks)
    context = multiprocessing.get_context(start)
    loader = DataLoader(
        pairs,
        batch_sampler=[list(range(4)), list(range(4, 8))],
        num_workers=2,
        multiprocessing_context=context,
    )
    batches = list(loader)
    for i in range(8):
        assert torch.equal(batches[i // 4]["driving"][i % 4], pairs[i]["driving"])


def test_threads_read_the_same(tracks: FaceTracks) -> None:
    rows = list(range(tracks.index.rows)) * 8
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tracks.frame, rows))
    for row, frame in zip(rows[:48], found, strict=False):
        np.testing.assert_array_equal(frame, tracks.frame(row))


def test_attributes_come_full_shape_or_as_they_are_stored(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path, attribute_scale="openface")
    written = next(iter(tiny_tracks(4, 2, 6, 32))).attributes
    stored = pickle.loads(pickle.dumps(FaceTracks(folder, stored=True)))  # as a worker process gets it
    np.testing.assert_array_equal(stored.values(0).attributes, written)
    units = PairDataset(stored)[0]["driving_attributes"].numpy()[3:]  # the same in a mirror
    assert any(np.array_equal(units, row[3:]) for row in stored.all_values().attributes)
    full = FaceTracks(folder).values(0).attributes
    assert full[:, 3:].max() > 1
    np.testing.assert_allclose(to_openface(full), written, atol=1e-6)
    np.testing.assert_array_equal(full[:, :3], written[:, :3])


# What can be wrong with a data set.


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


def leak_of_validation(folder: Path, index: dict[str, Any]) -> None:
    index["splits"]["validation"].append("person3")


def another_split(folder: Path, index: dict[str, Any]) -> None:
    index["splits"]["dev"] = []


def shifted_rows(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][1]["first"] = 5


def unknown_shard(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][1]["shard"] = 9


def negative_shard(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][1]["shard"] = -1


def future(folder: Path, index: dict[str, Any]) -> None:
    index["format"] = 4


def earlier(folder: Path, index: dict[str, Any]) -> None:
    index["format"] = 2


def other_alignment(folder: Path, index: dict[str, Any]) -> None:
    index["alignment"] = "ears"


def no_tracks(folder: Path, index: dict[str, Any]) -> None:
    del index["tracks"]


def another_source(folder: Path, index: dict[str, Any]) -> None:
    index["attribute_source"] = "guessed"


def huge_crops(folder: Path, index: dict[str, Any]) -> None:
    index["size_px"] = 4096


def no_rate(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][0]["fps"] = 0


def numbered_name(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][0]["name"] = 7


def nobodys(folder: Path, index: dict[str, Any]) -> None:
    index["tracks"][0]["identity"] = "nobody"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_shard, r"00000-\w{12}.arrow has \d+ bytes instead of \d+"),
        (lost_shard, r"cannot read .*00001-\w{12}.arrow: No such file"),
        (outside, r"Expected `str` matching regex .* - at `\$\.shards\[0\]\.file`"),
        (outside_within, r"at `\$\.shards\[0\]\.file`"),
        (leak, "'person0' is in train and in test"),
        (leak_of_validation, "'person3' is in validation and in test"),
        (another_split, "its splits are train, validation, test, dev instead of train, validation, test"),
        (shifted_rows, "does not follow"),
        (unknown_shard, "does not follow"),
        (negative_shard, r"Expected `int` >= 0 - at `\$\.tracks\[1\]\.shard`"),
        (future, r"of another version: Invalid enum value 4 - at `\$\.format`; prepare the data again"),
        (earlier, r"of another version: Invalid enum value 2 - at `\$\.format`; prepare the data again"),
        (other_alignment, "alignment 'ears' is not known"),
        (no_tracks, "missing required field `tracks`"),
        (another_source, r"Invalid enum value 'guessed' - at `\$\.attribute_source`"),
        (huge_crops, r"Expected `int` <= 1024 - at `\$\.size_px`"),
        (no_rate, r"Expected `float` > 0.0 - at `\$\.tracks\[0\]\.fps`"),
        (numbered_name, r"Expected `str`, got `int` - at `\$\.tracks\[0\]\.name`"),
        (nobodys, "is of 'nobody', which is in no split"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        FaceTracks(damaged(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no data set .* run training/prepare.py"):
        FaceTracks(tmp_path)


def changed(folder: Path, old: bytes, new: bytes) -> FaceTracks:
    """The data set with bytes of its first shard replaced by as many others."""
    shard = folder / FaceTracks(folder).index.shards[0].file
    content = shard.read_bytes()
    assert len(old) == len(new) and content.count(old) >= 1
    shard.write_bytes(content.replace(old, new, 1))
    return FaceTracks(folder)


def test_changed_bytes_are_found_by_their_hash_and_a_broken_picture_by_its_decoder(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path)
    tracks = changed(folder, FaceTracks(folder).jpeg(0)[:188], bytes(188))
    with pytest.raises(ConfigError, match=r"frame 0 in .* is not a picture of 32 pixels"):
        tracks.frame(0)
    with pytest.raises(ConfigError, match="its sha256 is another"):
        tracks.verify()


def test_attributes_out_of_range_are_refused_when_they_are_read(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path)
    row = FaceTracks(folder).values(0).attributes[3]
    wrong = row.copy()
    wrong[3] = np.nan
    with pytest.raises(
        ConfigError, match=r"00000-\w{12}.arrow: person0/video0/clip#0 has attributes outside 0 to 1"
    ):
        changed(folder, row.tobytes(), wrong.tobytes()).values(0)


def test_places_outside_a_shard_are_refused(tmp_path: Path) -> None:
    """A length that runs past the end would read what lies beyond the file."""
    folder = make_tiny_dataset(tmp_path)
    lengths = np.cumsum([0, *(len(FaceTracks(folder).jpeg(row)) for row in range(6))])
    wild = lengths.copy()
    wild[-1] = 2**62
    tracks = changed(folder, lengths.tobytes(), wild.tobytes())
    with pytest.raises(ConfigError, match=r"cannot read .*00000-\w{12}.arrow: .*; prepare the data again"):
        tracks.frame(5)


def test_a_shard_that_is_not_one_of_ours_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path)
    index = json.loads((folder / "index.json").read_text())
    shard = folder / index["shards"][0]["file"]
    table = pa.table({"picture": [b"x"] * 6})
    with pa.ipc.new_file(str(shard), table.schema) as writer:
        writer.write_table(table)
    for content, message in ((None, "its columns are picture"), (b"not Arrow at all", "cannot read")):
        if content is not None:
            shard.write_bytes(content)
        index["shards"][0]["bytes"] = shard.stat().st_size
        (folder / "index.json").write_text(json.dumps(index))
        with pytest.raises(ConfigError, match=message):
            FaceTracks(folder).frame(0)


def test_batches_that_the_index_does_not_know_are_refused(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path)
    index = json.loads((folder / "index.json").read_text())
    index["tracks"][0]["frames"] = 5
    for track in index["tracks"][1:]:
        track["first"] -= 1
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"it has 6 frames of person0/video0/clip#0 instead of 5"):
        FaceTracks(folder).frame(0)


def test_a_picture_of_another_size_is_refused(tracks: FaceTracks, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((20, 20, 3), dtype=np.uint8))[1].tobytes()
    monkeypatch.setattr(tracks, "jpeg", lambda row: jpeg)
    with pytest.raises(ConfigError, match="not a picture of 32 pixels"):
        tracks.frame(0)


def test_pairs_need_tracks_of_two_frames(tmp_path: Path) -> None:
    tracks = FaceTracks(make_tiny_dataset(tmp_path, frames=1))
    with pytest.raises(ConfigError, match="no clip of two frames"):
        PairDataset(tracks)
    assert PortraitDataset(tracks)[0]["portrait"].shape == (3, 32, 32)


def test_shards_are_mapped_not_read(tracks: FaceTracks) -> None:
    values = tracks.values(0)
    with pytest.raises(ValueError, match="read-only"):
        values.attributes[0, 0] = 1.0
    before = pa.total_allocated_bytes()
    kept = [tracks.values(number) for number in range(len(tracks.tracks))]
    assert pa.total_allocated_bytes() - before < 1000, len(kept)
