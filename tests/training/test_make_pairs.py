"""Pairs of face patches: where they are cut, what they hold, and that a stopped run goes on to the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.attributes import INDEX, NAMES, neutral
from icface.bundle import Bundle
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.geometry import patch as patches
from icface.geometry import topology as mesh
from icface.geometry.rig import FaceRig
from icface.images import load_photo
from tests.conftest import REPOSITORY, shared_file
from training import make_pairs
from training.pairs import moving, records, work
from training.pairs.pictures import Job, jobs_of
from training.pairs.records import ROOM_PX, STORED_PX, matched, record
from training.pairs.seen import Seen, as_seen, look
from training.pairs.settings import PairsConfig, SetConfig, load_config
from training.pairs.source import Source, cut_once, then, with_noise

EXAMPLES = REPOSITORY / "examples"
CONFIGS = [REPOSITORY / f"training/configs/{name}.toml" for name in ("pairs", "pairs_neutral")]
INNER = np.s_[ROOM_PX:-ROOM_PX, ROOM_PX:-ROOM_PX]


@pytest.fixture(scope="module")
def detector() -> LandmarkDetector:
    return open_detector(video=False)


@pytest.fixture(scope="module")
def seen(detector: LandmarkDetector) -> Seen:
    return look(load_photo(EXAMPLES / "source.jpg").frame, detector)


@pytest.fixture(scope="module")
def source(seen: Seen, detector: LandmarkDetector) -> Source:
    return Source(seen, detector, 110)


def test_a_self_pair_is_the_photo_outside_of_the_openings(source: Source, seen: Seen) -> None:
    shown = source.driven_to(seen, source.affine)
    made = record(source, shown, seen, source.affine, {}, match_colour=False)
    assert not isinstance(made, str)
    target, warped = made.pixels[INNER][..., :3].astype(int), made.pixels[INNER][..., 3:6].astype(int)
    skin = records.skin_of(shown, source.project, _place(source, shown.rotation))[INNER]
    closed = cv2.dilate(made.pixels[INNER][..., 6], np.ones((7, 7), np.uint8)) == 0
    difference = np.abs(target - warped).mean(axis=2)[skin & closed]
    assert difference.size > 5000
    assert np.median(difference) <= 1.0
    assert difference.mean() < 2
    # Nothing has moved: pixels that are read once more become softer, not other ones.
    grey = [
        cv2.cvtColor(each.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float64)
        for each in (target, warped)
    ]
    shift, _ = cv2.phaseCorrelate(grey[0], grey[1], cv2.createHanningWindow(grey[0].shape[::-1], cv2.CV_64F))
    assert math.hypot(*shift) < 0.15
    assert made.row["error"] < 3
    # The face in the frame is the face in the photo, so both halves of the conditions say the same.
    n = patches.MEASURES
    np.testing.assert_allclose(made.conditions[:n], made.conditions[n : 2 * n], atol=2e-3)


def _place(source: Source, rotation: np.ndarray) -> np.ndarray:
    return patches.patch_affine(source.cache["neutral_shape"], rotation, source.project, STORED_PX)


def _moved(seen: Seen, scale: float, shift: tuple[float, float]) -> Seen:
    """The same face in a picture that was enlarged and shifted, by arithmetic."""
    points = seen.landmarks.points_px * np.float32(scale)
    points[:, :2] += np.array(shift, dtype=np.float32)
    height, width = seen.picture.shape[:2]
    size = round(width * scale), round(height * scale)
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    picture = cv2.warpAffine(seen.picture, affine, size, borderMode=cv2.BORDER_REPLICATE)
    # The camera model of the pose sees the whole picture, which has to stay the same for the same pose.
    landmarks = dataclasses.replace(seen.landmarks, points_px=points)
    made = as_seen(np.asarray(picture, np.uint8), landmarks)
    project = type(seen.project)(
        np.asarray(seen.project.base_px * scale + shift, dtype=np.float32),
        np.float32(seen.project.iod_px * scale),
    )
    return made._replace(shape=seen.shape, rotation=seen.rotation, project=project)


def test_the_target_is_cut_where_its_landmarks_say(source: Source, seen: Seen) -> None:
    scale, shift = 1.25, (31.0, -12.0)
    target = _moved(seen, scale, shift)
    onto = source.onto(target)
    # From the frame to the photo (the crop), and on by what was done to it.
    expected = source.affine * scale
    expected[:, 2] += shift
    np.testing.assert_allclose(onto, expected, atol=0.05)

    # A green dot on the tip of the nose lies in the patch where the nose is.
    picture = target.picture.copy()
    nose = target.landmarks.points_px[4, :2]
    cv2.circle(picture, tuple(round(16 * v) for v in nose.tolist()), 16 * 5, (0, 255, 0), -1, shift=4)
    target = target._replace(picture=picture)
    shown = source.driven_to(target, onto)
    made = record(source, shown, target, onto, {}, match_colour=False)
    assert not isinstance(made, str)
    pixels = made.pixels[..., :3].astype(int)
    green = np.argwhere((pixels[..., 1] > 180) & (pixels[..., 0] < 90) & (pixels[..., 2] < 90))
    in_frame = (nose - expected[:, 2]) / (source.affine[0, 0] * scale)
    place = _place(source, target.rotation)
    in_patch = np.linalg.inv(place[:, :2]) @ (in_frame - place[:, 2])
    np.testing.assert_allclose(green.mean(axis=0)[::-1], in_patch, atol=0.35)
    # And the rig puts its own nose there.
    vertex = source.project(shown.shape[4], shown.rotation)[:2]
    np.testing.assert_allclose(vertex, in_frame, atol=0.05)


def test_a_shape_of_another_picture_lies_where_that_picture_shows_it(source: Source, seen: Seen) -> None:
    target = _moved(seen, 1.4, (5.0, 9.0))
    to_picture = source.onto(target) * 1.03  # not aligned exactly
    shape = source.shape_of(target.shape, target.rotation, target.project, to_picture)
    in_frame = source.project(shape, target.rotation)[:, :2]
    in_picture = in_frame * to_picture[0, 0] + to_picture[:, 2]
    np.testing.assert_allclose(in_picture, target.project(target.shape, target.rotation)[:, :2], atol=0.05)


def test_a_frame_by_shape_is_the_frame_by_attributes(source: Source) -> None:
    rig = FaceRig(source.cache)
    attributes = neutral()
    attributes[INDEX["yaw"]], attributes[INDEX["AU12"]], attributes[INDEX["AU26"]] = 0.6, 0.5, 0.7
    expected = {name: value.copy() for name, value in rig.motion(attributes).items()}
    # The jaw is given apart from the shape. Here it is kept still, so lower teeth and tongue lie elsewhere.
    again = FaceRig(source.cache)
    shown = again.motion_of_shape(rig.shape, rig.rotation, (0.0, 0.0), np.zeros(3, np.float32))
    np.testing.assert_array_equal(shown["skin_map"], expected["skin_map"])
    np.testing.assert_array_equal(shown["inner_alpha"], expected["inner_alpha"])
    x0, y0, x1, y1 = expected["regions"][2]
    assert np.abs(shown["inner_map"][y0:y1, x0:x1] - expected["inner_map"][y0:y1, x0:x1]).max() > 1


def test_the_lower_teeth_follow_the_chin_as_in_an_ordinary_frame(source: Source) -> None:
    rig = FaceRig(source.cache)
    attributes = neutral()
    attributes[INDEX["AU26"]] = 0.8
    expected = rig.motion(attributes)
    ordinary = expected["inner_map"].copy()
    shape, rotation = rig.shape, rig.rotation
    x0, y0, x1, y1 = expected["regions"][2]
    source.by_shape(shape, rotation, source.own_gaze())
    by_shape = source.rig.motion_of_shape(shape, rotation, source.own_gaze(), source._jaw_of(shape))[
        "inner_map"
    ]
    # The jaw's laugh pulls the chin a little, too.
    assert np.abs(by_shape[y0:y1, x0:x1] - ordinary[y0:y1, x0:x1]).max() < 0.02 * float(source.project.iod_px)


def test_noise_leaves_the_openings_of_eyes_and_mouth(source: Source) -> None:
    shape = source.cache["photo_shape"]
    noisy = with_noise(shape, np.full(17, 0.3, np.float32))
    upper, lower = list(mesh.INNER_UPPER_LIP), list(mesh.INNER_LOWER_LIP)
    np.testing.assert_allclose(noisy[upper] - noisy[lower], shape[upper] - shape[lower], atol=1e-6)
    np.testing.assert_allclose(noisy[159] - noisy[145], shape[159] - shape[145], atol=1e-6)
    assert np.linalg.norm(noisy[105] - shape[105]) > 0.005  # brows move


def test_colours_are_matched_by_bounded_gains_of_the_chosen_pixels() -> None:
    picture = np.full((4, 4, 3), (100, 100, 100), np.uint8)
    like = np.full((4, 4, 3), (110, 60, 150), np.uint8)
    picture[0], like[0] = 255, 0  # does not count
    where = np.ones((4, 4), bool)
    where[0] = False
    assert matched(picture, like, where)[2, 2].tolist() == [110, 75, 133]


def test_a_fine_photo_is_cut_without_aliasing() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    place = np.array([[8.0, 0, 3.5], [0, 8.0, 3.5]])
    assert np.ptp(cut_once(stripes, place, 96).astype(int)) <= 2


HELD = PairsConfig(
    sets=(
        SetConfig(name="a", kind="true", files=("people/*.jpg",), person=r"/(\w+)_", leave_out=("*_hand*",)),
        SetConfig(name="b", kind="made", files=("faces/*.jpg",), most=30),
    ),
    held_out=("people/eva_*",),
    held_out_tenth=("faces/*",),
)


def test_held_out_people_never_appear_and_are_all_that_an_evaluation_has(tmp_path: Path) -> None:
    for name in ("eva_1", "eva_2", "tom_1", "tom_2", "tom_hand"):
        (tmp_path / "people").mkdir(exist_ok=True)
        (tmp_path / f"people/{name}.jpg").touch()
    (tmp_path / "faces").mkdir()
    for number in range(200):
        (tmp_path / f"faces/{number}.jpg").touch()

    def files(which: int, evaluation: bool) -> list[str]:
        return [name for job in jobs_of(HELD, HELD.sets[which], tmp_path, evaluation) for name in job.files]

    assert files(0, False) == ["people/tom_1.jpg", "people/tom_2.jpg"]
    assert files(0, True) == ["people/eva_1.jpg", "people/eva_2.jpg"]
    trained, tested = files(1, False), files(1, True)
    assert len(trained) == 30
    assert not set(trained) & set(tested)
    # The CRC-32 of "29.jpg" ends in 0, that of "8.jpg" in 2.
    assert "faces/29.jpg" in tested
    assert "faces/8.jpg" not in tested


def test_the_project_s_own_configs_hold_the_evaluation_people_out(tmp_path: Path) -> None:
    configs = [load_config(path) for path in CONFIGS]
    names = (
        "openpeople/P001_happy.jpg", "openpeople/P001_neutral.jpg", "openpeople/P007_happy.jpg",
        "openpeople/P009_neutral.jpg", "london_train/n_002.jpg", "london/n_102_03.jpg", "london/n_002_03.jpg",
        "clips/grid_s1/bbaf2n.mpg", "clips/grid_talk/s26_bgbsza.mpg",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def files(evaluation: bool, config: PairsConfig) -> set[str]:
        return {
            name
            for each in config.sets
            for job in jobs_of(config, each, tmp_path, evaluation)
            for name in job.files
        }

    assert files(False, configs[0]) == {names[0], names[1], names[4], names[8]}
    assert files(True, configs[0]) == {names[2], names[3], names[5], names[7]}
    assert files(False, configs[1]) == {names[0], names[1], names[4]}
    assert files(True, configs[1]) == {names[2], names[3], names[5]}


def test_nobody_of_the_model_card_was_trained_on() -> None:
    with (REPOSITORY / "benchmarks/groups_labels.csv").open(encoding="utf-8") as file:
        measured = {row["file"] for row in csv.DictReader(file)}
    photos = shared_file("data/images.csv").parent
    trained = {
        name
        for config in map(load_config, CONFIGS)
        for each in config.sets
        for job in jobs_of(config, each, photos, False)
        for name in job.files
    }
    assert not measured & trained


PEOPLE = """
seed = 3
drop_worst = 0
[[sets]]
name = "people"
kind = "true"
files = ["*/*"]
person = '^(.+)/'
[[sets]]
name = "made"
kind = "made"
files = ["*/first.png"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with two photos each, one of them darker, and a file that is no photo."""
    result = tmp_path_factory.mktemp("photos")
    (result / "pairs.toml").write_text(PEOPLE)
    for person, name in (("anna", "source.jpg"), ("bert", "rendered.jpg")):
        frame = load_photo(EXAMPLES / name).frame
        (result / "photos" / person).mkdir(parents=True)
        for file, picture in (("first.png", frame), ("second.png", (frame[8:, 6:] * 0.85).astype(np.uint8))):
            cv2.imwrite(str(result / "photos" / person / file), picture[..., ::-1])
    (result / "photos/anna/broken.jpg").write_bytes(b"no photo")
    return result


def _run(folder: Path, out: Path, *more: str) -> int:
    flags = ["--photos", str(folder / "photos"), "--config", str(folder / "pairs.toml"), "--out", str(out)]
    return make_pairs.main([*flags, "--workers", "0", *more])


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    out = folder / "made"
    assert _run(folder, out) == 0
    return out


@pytest.mark.slow
def test_what_is_written_can_be_read_as_documented(made: Path) -> None:
    index = json.loads((made / "index.json").read_text())
    assert {key: index[key] for key in ("format_version", "patch_px", "stored_px", "patch_iod")} == {
        "format_version": 1, "patch_px": 192, "stored_px": 216, "patch_iod": 1.9,
    }  # fmt: skip
    assert {name: (about["kind"], about["count"]) for name, about in index["sets"].items()} == {
        "people": ("true", 4), "made": ("made", 4),
    }  # fmt: skip
    for name, about in index["sets"].items():
        for file, digest in about["files"].items():
            assert hashlib.sha256((made / file).read_bytes()).hexdigest() == digest
        pixels = np.load(made / f"{name}.pixels.npy", mmap_mode="r", allow_pickle=False)
        conditions = np.load(made / f"{name}.conditions.npy", mmap_mode="r", allow_pickle=False)
        assert (pixels.shape, pixels.dtype) == ((4, 216, 216, 7), np.uint8)
        assert (conditions.shape, conditions.dtype) == ((4, patches.CONDITIONS), np.float32)
        assert np.isfinite(conditions).all()
        with (made / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0])[:7] == ["target", "source", "identity", "kind", "error", "iod_px", "own_teeth"]
        for i, row in enumerate(rows):
            target, warped = pixels[i][INNER][..., :3].astype(int), pixels[i][INNER][..., 3:6].astype(int)
            assert float(row["error"]) == pytest.approx(np.abs(target - warped).mean(), abs=1e-6)
            assert all(0 <= float(row[name]) <= 1 for name in NAMES)
            assert row["kind"] == about["kind"]
    # The darker photo was brought to the light of the other one.
    pixels = np.load(made / "people.pixels.npy", mmap_mode="r", allow_pickle=False)
    for pair in pixels:
        centre = pair[90:150, 70:150]
        ratio = centre[..., :3].mean() / centre[..., 3:6].mean()
        assert 0.97 < ratio < 1.03


CALM = """
seed = 3
drop_worst = 0
[[sets]]
name = "people"
kind = "true"
calm = ["*/first.png"]
repeats = 2
files = ["*/*.png"]
person = '^(.+)/'
[[sets]]
name = "calmed"
kind = "calmed"
calm = ["anna/*"]
repeats = 3
files = ["anna/first.png"]
"""


@pytest.mark.slow
def test_pairs_with_calm_targets(folder: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "calm.toml", tmp_path / "made"
    config.write_text(CALM)
    assert _run(folder, out, "--config", str(config)) == 0
    rows: dict[str, list[dict[str, str]]] = {}
    for name in ("people", "calmed"):
        with (out / f"{name}.csv").open(newline="") as file:
            rows[name] = list(csv.DictReader(file))
    # Nobody is driven to what is not known to be calm.
    assert [(row["source"], row["target"]) for row in rows["people"]] == [
        (f"{person}/second.png", f"{person}/first.png") for person in ("anna", "anna", "bert", "bert")
    ]
    acts = [int(row["source"].rpartition(" ")[2]) for row in rows["calmed"]]
    assert len(set(acts)) == 3 and acts == sorted(acts)
    assert {row["target"] for row in rows["calmed"]} == {"anna/first.png"}
    # An expression was made and taken back: what is left of it differs from the photo, most of the face does not.
    pixels = np.load(out / "calmed.pixels.npy", allow_pickle=False)[:, *INNER].astype(int)
    differences = np.abs(pixels[..., :3] - pixels[..., 3:6]).mean(axis=3)
    assert (np.median(differences, axis=(1, 2)) < 4).all()
    assert (differences[:, 40:170, 40:150].reshape(3, -1).max(axis=1) > 40).all()


PAINTED = """
[[sets]]
name = "drawn"
kind = "made"
files = ["P007_disgusted.jpg"]
[[sets]]
name = "painted"
kind = "made"
painted = true
expressive = true
files = ["P007_disgusted.jpg", "P007_neutral.jpg"]
"""


@pytest.mark.slow
def test_a_network_paints_the_folds_of_neutral_photos_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shared_file("data/openpeople/P007_disgusted.jpg").parent
    config, out = tmp_path / "painted.toml", tmp_path / "made"
    config.write_text(PAINTED)
    flags = ["--photos", str(photos), "--config", str(config), "--out", str(out), "--workers", "0"]
    assert make_pairs.main(flags) == 0
    index = json.loads((out / "index.json").read_text())["sets"]
    assert index["painted"]["left_out"] == ["P007_neutral.jpg: its face has no expression"]
    rows, apart = {}, {}
    for name in ("drawn", "painted"):
        with (out / f"{name}.csv").open(newline="") as file:
            rows[name] = list(csv.DictReader(file))
        pixels = np.load(out / f"{name}.pixels.npy", allow_pickle=False)[0].astype(int)
        wrinkled = np.s_[50:110, 78:138]  # root of the nose, between the brows
        apart[name] = np.abs(pixels[wrinkled][..., :3] - pixels[wrinkled][..., 3:6]).mean()
    assert [row["source"] for row in rows["painted"]] == ["P007_disgusted.jpg painted neutral"] * 2
    assert [float(row["noise"]) for row in rows["painted"]] == [0.0, 0.05]
    # Geometry leaves the wrinkles where they are, so there is little to learn.
    assert apart["painted"] > 1.3 * apart["drawn"]

    monkeypatch.setattr(Bundle, "neutralise", None)
    assert make_pairs.main(flags) == 2
    assert "has no neutraliser" in capsys.readouterr().err


def test_expressions_of_calmed_faces_need_a_bundle(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "calm.toml"
    config.write_text(CALM)
    assert _run(folder, tmp_path / "made", "--config", str(config), "--bundle", str(tmp_path)) == 1
    assert "is not a model bundle" in capsys.readouterr().err


@pytest.mark.slow
def test_a_photo_that_cannot_be_read_is_listed(made: Path) -> None:
    left_out = json.loads((made / "index.json").read_text())["sets"]["people"]["left_out"]
    assert len(left_out) == 1
    assert left_out[0].startswith("anna/broken.jpg: ")
    report = (made / "report/report.md").read_text()
    assert "`anna/broken.jpg`" in report
    assert cv2.imread(str(made / "report/people.png")) is not None


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes(
    folder: Path,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = work.make_part
    done: list[object] = []

    def stops(*arguments: object) -> str:
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(make_pairs, "make_part", stops)
    assert _run(folder, tmp_path / "out") == 1
    assert "run the same command again" in capsys.readouterr().err
    assert not (tmp_path / "out/index.json").exists()
    again: list[str] = []

    def counted(*arguments: object) -> str:
        again.append(str(arguments[1]))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(make_pairs, "make_part", counted)
    assert _run(folder, tmp_path / "out") == 0
    assert len(again) == 3  # one person of `people`, and both of `made`
    for path in sorted(made.glob("*.*")):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
    assert not list((tmp_path / "out/parts").iterdir())
    again.clear()
    assert _run(folder, tmp_path / "out") == 0
    assert not again


class Packed:
    """Stands in for making pairs, and keeps which sets were made."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.photos = folder / "out", folder / "photos"
        self.config = folder / "pairs.toml"
        for name in ("a", "b"):
            (self.photos / name).mkdir(parents=True)
            (self.photos / name / "1.jpg").touch()
        monkeypatch.setattr(make_pairs, "make_part", self._part)
        monkeypatch.setattr(make_pairs, "write_report", lambda folder, made: None)

    def _part(self, config: PairsConfig, job: Job, photos: Path, path: Path) -> str:
        work.save_part(path, [], [])
        return ""

    def run(self, *names: str, more: Sequence[str] = ()) -> list[str]:
        """Make pairs of these sets; gives those of the index."""
        sets = [f'{{name = "{name}", kind = "self", files = ["{name}/*"]}}' for name in names]
        self.config.write_text(f"sets = [{', '.join(sets)}]")
        flags = ["--photos", str(self.photos), "--config", str(self.config), "--out", str(self.out)]
        assert make_pairs.main([*flags, "--workers", "0", *more]) == 0
        return sorted(json.loads((self.out / "index.json").read_text())["sets"])


def test_a_set_whose_files_are_gone_is_no_longer_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    packed = Packed(tmp_path, monkeypatch)
    assert packed.run("a", "b") == ["a", "b"]
    (packed.photos / "b/1.jpg").unlink()
    assert packed.run("a", "b", more=["--only", "a"]) == ["a", "b"]
    assert packed.run("a") == ["a", "b"]
    assert (
        f"b: {packed.config} has no such set; it stays in {packed.out}, and is trained on" in caplog.messages
    )
    assert packed.run("a", "b") == ["a"]
    assert "b: it has no files any more; its pairs are deleted" in caplog.messages
    assert not list(packed.out.glob("b.*")) and list(packed.out.glob("a.*"))


def test_parts_of_other_settings_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Packed(tmp_path, monkeypatch)
    for name in ("a-0123456789abcdef", "b-0123456789abcdef"):
        (packed.out / "parts" / name).mkdir(parents=True)
    packed.run("a")
    assert [path.name for path in (packed.out / "parts").iterdir()] == ["b-0123456789abcdef"]


@pytest.mark.slow
def test_frames_of_a_clip_are_driven_from_its_calm_ones(
    detector: LandmarkDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "MOST_FRAMES", 40)
    config = PairsConfig(sets=(SetConfig(name="talk", kind="talk", files=("*.mp4",), min_iod_px=30),))
    (job,) = jobs_of(config, config.sets[0], EXAMPLES, False)
    made = list(work._told(config, job, EXAMPLES, detector))
    pairs = [each for each in made if not isinstance(each, str)]
    assert len(pairs) > 10
    assert len({each.row["source"] for each in pairs}) == 2
    assert all(each.row["target"] != each.row["source"] for each in pairs)
    assert max(each.row["error"] for each in pairs) < 25


def test_wrong_words_give_one_clear_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(folder, tmp_path, "--only", "nobody") == 2
    assert "has the sets people, made" in capsys.readouterr().err
    assert make_pairs.main(["--photos", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert make_pairs.main(["--photos", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "has no files" in capsys.readouterr().err
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('sets = [{name = "a", kind = "true", files = [], colour = "red"}]')
    assert make_pairs.main(["--photos", str(tmp_path), "--out", str(tmp_path), "--config", str(wrong)]) == 2
    assert "colour" in capsys.readouterr().err


def test_affines_follow_each_other() -> None:
    first, second = np.array([[2.0, 0, 1], [0, 2, 3]]), np.array([[0.0, -1, 5], [1, 0, 7]])
    point = np.array([4.0, 6.0])
    after_first = first[:, :2] @ point + first[:, 2]
    both = then(first, second)
    np.testing.assert_allclose(both[:, :2] @ point + both[:, 2], second[:, :2] @ after_first + second[:, 2])
