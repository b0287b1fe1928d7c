"""The choice of frames, what is made of measurements, sweeps and figures; with models whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import AU_NAMES, COUNT, INDEX, NAMES, FloatArray, neutral, pose_to_unit
from icface.errors import ConfigError, SourceError
from icface.face.action_units import Baseline, population
from icface.face.landmarks import Landmarks
from tests.training.tiny_data import make_tiny_dataset
from training.dataset.reading import FaceTracks
from training.evaluation import control_figures, figures
from training.evaluation.agreement import agreement, correlation, jitter_iod, slope, spearman
from training.evaluation.animators import to_frames, to_images, unique_names
from training.evaluation.judges import Judges
from training.evaluation.presence import surrogate
from training.evaluation.protocol import (
    DRIVER,
    KEPT,
    Answer,
    ClipViewer,
    answer_of,
    evaluate_tasks,
    reference_of,
    still_jitter,
)
from training.evaluation.response import Sweep, response, swept
from training.evaluation.tasks import (
    cross_tasks,
    distance_from_neutral,
    self_tasks,
    source_row,
    spread,
    tracks_of,
)


class Told:
    """A model that writes the attributes it is asked for into its pictures, each a grey cell; made worse at will."""

    def __init__(
        self, size_px: int = 32, *, gain: float = 1.0, ignores: tuple[str, ...] = (), refuses: bool = False
    ):
        self.name = "told"
        self.facts: dict[str, Any] = {}
        self._size_px = size_px
        self._gain = gain
        self._ignored = [INDEX[name] for name in ignores]
        self._refuses = refuses

    def neutralise(self, crop: Frame) -> Frame:
        if self._refuses:
            raise SourceError("no face found in crop")
        frame: Frame = self.animate(neutral(COUNT)[None])[0]
        return frame

    def animate(self, attributes: FloatArray) -> Frame:
        shown = neutral(COUNT) + self._gain * (attributes - neutral(COUNT))
        shown[:, self._ignored] = neutral(COUNT)[self._ignored]
        frames = np.zeros((len(attributes), self._size_px, self._size_px, 3), dtype=np.uint8)
        frames[:, 0, :COUNT, 0] = np.clip(np.round(shown * 250), 0, 250)
        return frames

    def close(self) -> None: ...


class Reader(ClipViewer):
    """A viewer that reads what Told wrote; it sees no face where the second row is white."""

    def __init__(self) -> None:  # without a detector
        pass

    def baseline(self, neutral: Frame) -> Baseline | None:
        return population() if self._sees(neutral) else None

    def measure_clip(
        self, frames: Iterable[Frame], baseline: Baseline | None = None
    ) -> tuple[FloatArray, Baseline]:
        return self.measure(frames), population()

    def measure(self, frames: Iterable[Frame], baseline: Baseline | None = None) -> FloatArray:
        return np.stack([self._read(frame) for frame in frames])

    def look(self, frame: Frame) -> Landmarks | None:
        crop = frame
        if not self._sees(crop):
            return None
        points = np.zeros((478, 3), dtype=np.float32)
        points[263, 0] = 100.0
        points[:, 1] = 100.0 * self._read(crop)[INDEX["AU12"]]
        return Landmarks(points_px=points, image_size_px=(32, 32), blendshapes=np.zeros(52, np.float32))

    def _sees(self, crop: Frame) -> bool:
        return bool((crop[1] != 255).any())

    def _read(self, crop: Frame) -> FloatArray:
        values = np.asarray(crop[0, :COUNT, 0] / np.float32(250), dtype=np.float32)
        return values if self._sees(crop) else np.full(COUNT, np.nan, dtype=np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FaceTracks:
    return FaceTracks(make_tiny_dataset(tmp_path_factory.mktemp("data"), identities=8, tracks=3, frames=6))


# Tasks


def test_clips_are_spread_over_people(data: FaceTracks) -> None:
    chosen = tracks_of(data, "test", None, 1)
    assert len(chosen) == 6
    assert {track.identity for track in chosen[:2]} == set(data.index.splits["test"])
    assert tracks_of(data, "test", 3, 1) == chosen[:3]
    assert any(tracks_of(data, "test", None, seed) != chosen for seed in range(2, 6))


def test_a_source_never_drives_itself_and_drivers_are_others(data: FaceTracks) -> None:
    chosen = tracks_of(data, "test", None, 1)
    for track, task in zip(chosen, self_tasks(data, chosen, 4), strict=True):
        assert task.source in track.rows and task.source not in task.driving
        assert len(task.driving) == 4 and list(task.driving) == sorted(set(task.driving))
        assert set(task.driving) <= set(track.rows)
    crossed = cross_tasks(data, chosen, 4)
    assert len(crossed) == 6
    for task in crossed:
        people = {data.tracks[data.track_of(row)].identity for row in (task.source, *task.driving)}
        assert len(people) == 2
    alone = [track for track in chosen if track.identity == chosen[0].identity]
    assert cross_tasks(data, alone, 4) == []


def test_the_source_is_the_most_neutral_frame(data: FaceTracks) -> None:
    track = data.tracks[0]
    values = np.array(data.all_values().attributes[track.first : track.first + track.frames])
    row = source_row(data, track, "neutral")
    assert distance_from_neutral(values)[row - track.first] == distance_from_neutral(values).min()
    assert source_row(data, track, "first") == track.first
    turned, smiling = neutral(COUNT), neutral(COUNT)
    turned[INDEX["yaw"]] = 0.8
    smiling[INDEX["AU12"]] = 0.5
    near, a, b = distance_from_neutral(np.stack([neutral(COUNT), turned, smiling]))
    assert near == 0 and a == pytest.approx(0.2) and b == pytest.approx(0.5 / 17)


def test_a_source_can_be_as_hard_as_a_clip_has_it(data: FaceTracks) -> None:
    track = data.tracks[0]
    values = np.array(data.all_values().attributes[track.first : track.first + track.frames])
    assert source_row(data, track, "strongest") - track.first == values[:, 3:].sum(axis=1).argmax()
    turned = np.abs(values[:, :3] - 0.5).sum(axis=1)
    assert source_row(data, track, "extreme-pose") - track.first == turned.argmax()
    assert source_row(data, track, "strongest") != source_row(data, track, "neutral")
    # Drawn by the seed and the clip's name, whatever else is evaluated; every frame has a chance.
    assert source_row(data, track, "random", 3) == source_row(data, track, "random", 3)
    assert {source_row(data, track, "random", seed) for seed in range(60)} == set(track.rows)
    drawn = {source_row(data, one, "random", 3) - one.first for one in data.tracks}
    assert len(drawn) > 2


def test_rows_are_spread_evenly() -> None:
    assert spread(list(range(10, 20)), 4) == (10, 13, 16, 19)
    assert spread([1, 2], 4) == (1, 2)
    assert spread([1, 2, 3], 1) == (1,)


def test_an_empty_split_says_what_to_do(tmp_path: Path) -> None:
    tracks = FaceTracks(make_tiny_dataset(tmp_path / "d", identities=1))
    with pytest.raises(ConfigError, match="--split train"):
        tracks_of(tracks, "test", None, 1)


# Agreement


def test_pose_errors_are_degrees_and_unseen_faces_are_counted() -> None:
    asked = np.tile(neutral(COUNT), (4, 1))
    asked[:, INDEX["AU12"]] = [0.0, 0.2, 0.4, 0.6]
    shown = asked.copy()
    shown[:, INDEX["yaw"]] = pose_to_unit([math.radians(6.0)])[0]
    shown[:, INDEX["AU12"]] /= 2
    shown[3] = np.nan
    found = agreement([(asked, shown)])
    assert (found["frames"], found["faces_found"]) == (4, 3)
    assert found["pose_error_deg"]["yaw"] == pytest.approx(6.0, abs=1e-3)
    assert found["pose_error_deg"]["pitch"] == pytest.approx(0.0, abs=1e-4)
    assert found["apd_deg"] == pytest.approx(2.0, abs=1e-3)
    assert found["aed"] == pytest.approx((0.0 + 0.1 + 0.2) / 3 / 17)
    assert found["au_correlation"]["AU12"] == pytest.approx(1.0)
    assert found["au_correlation"]["AU01"] is None  # not exercised
    assert found["au_correlation_mean"] == pytest.approx(1.0)


def test_correlation_is_of_movement_inside_clips() -> None:
    """A model that stands still in each clip, in another place, follows nothing."""
    clips = []
    for level in (0.1, 0.5, 0.9):
        asked, shown = np.tile(neutral(COUNT), (2, 3, 1))
        asked[:, INDEX["AU12"]] = level + np.array([-0.1, 0.0, 0.1])
        shown[:, INDEX["AU12"]] = level
        clips.append((asked, shown))
    assert agreement(clips)["au_correlation"]["AU12"] == 0.0


def test_nothing_seen_at_all_gives_no_numbers() -> None:
    asked = np.tile(neutral(COUNT), (3, 1))
    found = agreement([(asked, np.full_like(asked, np.nan))])
    assert found["faces_found"] == 0
    assert found["apd_deg"] is found["aed"] is found["au_correlation_mean"] is None
    assert found["pose_error_deg"] == {"pitch": None, "yaw": None, "roll": None}


def test_correlations_by_hand() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0])
    assert correlation(x, np.array([0.0, 2.0, 1.0, 3.0])) == pytest.approx(0.8)
    assert correlation(x, np.array([1.0, 1.0, 1.0, 1.0])) == 0.0
    assert correlation(np.array([0.5, 0.5, 0.5]), np.array([0.0, 0.5, 1.0])) is None
    assert correlation(x, np.array([0.0, np.nan, 2.0, np.nan])) is None  # two points say nothing
    assert spearman(x, np.array([0.0, 0.1, 10.0, 11.0])) == pytest.approx(1.0)
    assert spearman(x, np.array([3.0, 2.0, 1.0, 0.0])) == pytest.approx(-1.0)
    # Ranks 1 2 3 4 against 1.5 1.5 3 4.
    assert spearman(x, np.array([0.0, 0.0, 1.0, 2.0])) == pytest.approx(4.5 / math.sqrt(5 * 4.5))
    assert spearman(x, np.zeros(4)) == 0.0
    assert slope(x, 0.5 * x + 3) == pytest.approx(0.5)


def test_jitter_by_hand() -> None:
    def face(dx: float) -> Landmarks:
        points = np.zeros((478, 3), dtype=np.float32)
        points[263, 0] = 50.0
        points[:, 0] += dx
        points[468:, 1] = 1000 * dx  # irises do not count
        return Landmarks(points_px=points, image_size_px=(128, 128), blendshapes=np.zeros(52, np.float32))

    assert jitter_iod([face(-1.0), face(1.0)]) == pytest.approx(1 / 50)
    assert jitter_iod([face(0.0), None, face(0.0)]) == 0.0
    assert jitter_iod([face(0.0), None]) is None


# Sweeps


def test_a_sweep_that_saturates_falls_back_or_loses_the_face() -> None:
    asked = np.linspace(0, 1, 5, dtype=np.float32)

    def sweep(*shown: float) -> Sweep:
        return Sweep(asked, np.array(shown, dtype=np.float32))

    assert sweep(0, 0.25, 0.5, 0.75, 1).is_monotone()
    assert sweep(0, 0.3, 0.29, 0.6, 0.6).is_monotone()  # within the measuring's noise
    assert not sweep(0, 0.3, 0.2, 0.6, 0.9).is_monotone()
    assert not sweep(0.5, 0.5, 0.5, 0.5, 0.5).is_monotone()
    lost = sweep(0, np.nan, 0.5, 0.75, 1)
    assert not lost.is_monotone() and lost.spearman() == pytest.approx(1.0)
    gone = sweep(0, np.nan, np.nan, np.nan, 1)
    assert gone.spearman() == 0.0 and gone.slope() == 0.0
    assert sweep(0, 0.2, 0.4, 0.6, 0.8).slope() == pytest.approx(0.8)


def test_a_sweep_asks_for_one_attribute() -> None:
    values = swept("yaw", 5)
    np.testing.assert_allclose(values[:, INDEX["yaw"]], [0.3, 0.4, 0.5, 0.6, 0.7], atol=1e-6)
    values[:, INDEX["yaw"]] = 0.5
    np.testing.assert_array_equal(values, np.tile(neutral(COUNT), (5, 1)))
    smile = swept("AU12")[:, INDEX["AU12"]]
    assert smile.min() == 0 and smile.max() == 1


def test_response_tells_a_model_that_follows_from_one_that_does_not() -> None:
    crops = [np.zeros((32, 32, 3), dtype=np.uint8)] * 2
    good = response(Told(gain=0.5), crops, Reader())
    assert (good["sources"], good["refused"]) == (2, 0)
    for values in good["attributes"].values():
        assert values["spearman_least"] > 0.99
        assert values["slope_mean"] == pytest.approx(0.5, abs=0.01)
        assert values["share_good"] == values["share_monotone"] == 1.0
    bad = response(Told(ignores=("AU12", "yaw")), crops, Reader())["attributes"]
    assert bad["AU12"]["spearman_mean"] == bad["yaw"]["share_monotone"] == 0.0
    assert bad["AU45"]["share_good"] == 1.0
    refusing = response(Told(refuses=True), crops, Reader())
    assert (refusing["sources"], refusing["refused"], refusing["attributes"]) == (0, 2, {})


# Protocol


def nothing_known(side: str, task: Any) -> None:
    return None


def run(
    data: FaceTracks, answer: Any, *, same: bool = True, presence_of: Any = nothing_known
) -> dict[str, Any]:
    tasks = (self_tasks if same else cross_tasks)(data, tracks_of(data, "test", None, 1), 4)
    return evaluate_tasks(
        tasks,
        answer,
        same_person=same,
        viewer=Reader(),
        judges=Judges(),
        presence_of=presence_of,
        data=data,
    )


def test_a_model_that_follows_scores_full_marks_for_it(data: FaceTracks) -> None:
    animator = Told()
    found = run(data, lambda task: answer_of(animator, data, task))
    assert found["frames"] == found["faces_found"] == 24
    assert found["apd_deg"] < 0.1 and found["aed"] < 0.003
    assert found["au_correlation_mean"] > 0.999
    assert found["presence"]["macro"]["f"] > 0.98
    assert found["presence"]["measured_by"] == ["driver: surrogate", "output: surrogate"]
    assert 0 < found["l1"] < 1 and found["psnr_db"] > 0
    crossed = run(data, lambda task: answer_of(animator, data, task), same=False)
    assert "l1" not in crossed and crossed["au_correlation_mean"] > 0.999


def test_a_model_that_does_not_move_is_seen_through(data: FaceTracks) -> None:
    found = run(data, lambda task: answer_of(Told(gain=0.0), data, task))
    assert found["au_correlation_mean"] == 0.0
    assert found["presence"]["macro"]["balanced_accuracy"] == pytest.approx(0.5)
    assert found["presence"]["macro"]["f"] == 0.0


class Smiling(Told):
    """Leaves a smile of the source in every frame, its neutral picture too, and turns its neutral by 8 degrees."""

    def neutralise(self, crop: Frame) -> Frame:
        asked = neutral(COUNT)
        asked[INDEX["yaw"]] = pose_to_unit([0, math.radians(8.0), 0])[1]
        frame: Frame = self.animate(asked[None])[0]
        return frame

    def animate(self, attributes: FloatArray) -> Frame:
        smiling = attributes.copy()
        smiling[:, INDEX["AU12"]] = 0.68
        return super().animate(smiling)


def test_a_smile_that_is_left_in_the_neutral_picture_is_a_smile(data: FaceTracks) -> None:
    """Relative to the model's own neutral, this model would show no smile at all, and score as if it had none."""
    found = run(data, lambda task: answer_of(Smiling(), data, task))
    smile = found["presence"]["per_au"]["AU12"]
    assert smile["in_output"] == 24 and 0 < smile["in_driver"] < 24
    assert smile["balanced_accuracy"] == 0.5
    assert found["neutral_without_face"] == 0
    # Of the three angles one is 8 degrees off, of 17 Action Units one is .68.
    assert found["neutral_angle_deg"] == pytest.approx(8 / 3, abs=0.15)
    assert found["neutral_expression"] == pytest.approx(0.68 / 17, abs=0.001)
    followed = run(data, lambda task: answer_of(Told(), data, task))
    assert followed["neutral_angle_deg"] == pytest.approx(0, abs=0.01) and followed["neutral_expression"] == 0


def test_missing_frames_show_nothing_and_are_not_scored(data: FaceTracks) -> None:
    def half(task: Any) -> Answer:
        whole = reference_of(DRIVER, data, task)
        output, made = whole.output.copy(), np.arange(4) < 2
        output[~made] = 255
        return replace(whole, output=output, made=made)

    found = run(data, half)
    assert found["missing"] == 12 and found["frames"] == 24
    assert found["l1"] == 0  # of those that are there, which are the driving frames
    assert found["presence"]["frames"] == 24 and found["presence"]["frames_with_face"] == 12
    nothing = run(data, lambda task: replace(half(task), made=np.zeros(4, dtype=bool)))
    assert nothing["missing"] == 24 and "l1" not in nothing


def test_refused_sources_are_counted_not_raised(data: FaceTracks) -> None:
    found = run(data, lambda task: answer_of(Told(refuses=True), data, task))
    assert len(found["refused"]) == found["tasks"] == 6
    assert "person" in found["refused"][0]
    assert "apd_deg" not in found
    presence = found["presence"]
    assert (presence["frames"], presence["frames_with_face"]) == (24, 0)
    assert presence["macro"]["balanced_accuracy"] == pytest.approx(0.5) and presence["macro"]["f"] == 0.0


class Shy(Told):
    """Loses the face in the frames that are asked to smile, and refuses a source."""

    def __init__(self, refused: bytes = b"") -> None:
        super().__init__()
        self._refused = refused

    def neutralise(self, crop: Frame) -> Frame:
        if crop.tobytes() == self._refused:
            raise SourceError("no face found in crop")
        return super().neutralise(crop)

    def animate(self, attributes: FloatArray) -> Frame:
        frames = super().animate(attributes)
        frames[attributes[:, INDEX["AU12"]] > 0.6, 1] = 255
        return frames


def test_losing_the_face_is_no_way_to_a_better_presence(data: FaceTracks) -> None:
    good = run(data, lambda task: answer_of(Told(), data, task))["presence"]
    shy = run(data, lambda task: answer_of(Shy(), data, task))["presence"]
    tasks = self_tasks(data, tracks_of(data, "test", None, 1), 4)
    asked = data.all_values().attributes[[row for task in tasks for row in task.driving]]
    smiles = int((surrogate(asked)[:, AU_NAMES.index("AU12")] == 1).sum())
    lost = int((asked[:, INDEX["AU12"]] > 0.6).sum())
    assert 0 < lost < smiles < 24
    assert (good["frames"], good["frames_with_face"]) == (24, 24)
    assert (shy["frames"], shy["frames_with_face"]) == (24, 24 - lost)
    # What the driver shows does not depend on the model; each smile whose face is lost is missed.
    for name in AU_NAMES:
        assert shy["per_au"][name]["in_driver"] == good["per_au"][name]["in_driver"]
        assert shy["per_au"][name]["frames"] == 24
    unit = shy["per_au"]["AU12"]
    assert (unit["in_driver"], unit["in_output"]) == (smiles, smiles - lost)
    assert unit["f"] == pytest.approx(2 * (smiles - lost) / (2 * (smiles - lost) + lost))
    # Nor does it depend on refused sources.
    refused = data.frame(tasks[0].source).tobytes()
    refusing = run(data, lambda task: answer_of(Shy(refused), data, task))
    assert 0 < len(refusing["refused"]) < 6
    assert refusing["presence"]["per_au"]["AU12"]["in_driver"] == smiles
    assert refusing["presence"]["frames"] == 24
    assert refusing["presence"]["macro"]["f"] < shy["macro"]["f"] < good["macro"]["f"]


def test_openface_that_sees_no_face_in_an_output_is_believed(data: FaceTracks) -> None:
    """Our own landmarks may see one there; which of the two is asked must not depend on what they say."""

    def nobody_in_outputs(side: str, task: Any) -> np.ndarray:
        present = np.full((len(task.driving), 17), -1 if side == "output" else 0, dtype=np.int8)
        present[: len(present) // 2 if side == "driver" else 0, AU_NAMES.index("AU45")] = 1
        return present

    found = run(data, lambda task: answer_of(Told(), data, task), presence_of=nobody_in_outputs)["presence"]
    assert found["measured_by"] == ["driver: OpenFace", "output: OpenFace"]
    assert (found["frames"], found["frames_with_face"]) == (24, 0)
    # Of four driving frames a clip the driver blinks in two: all are missed, the others are right.
    assert found["per_au"]["AU45"] == {
        "balanced_accuracy": 0.5, "f": 0.0, "in_driver": 12, "in_output": 0, "frames": 24,
    }  # fmt: skip


def test_references_are_the_answer_and_the_source(data: FaceTracks) -> None:
    task = self_tasks(data, tracks_of(data, "test", 1, 1), 3)[0]
    best, worst = (reference_of(name, data, task) for name in (DRIVER, KEPT))
    np.testing.assert_array_equal(best.output, best.driving)
    for frame in worst.output:
        np.testing.assert_array_equal(frame, data.frame(task.source))
    numbers = run(data, lambda task: reference_of(DRIVER, data, task))
    assert numbers["l1"] == 0 and numbers["ssim"] == pytest.approx(1) and numbers["psnr_db"] is None


def test_a_still_driver_leaves_an_exact_model_still() -> None:
    crops = [np.zeros((32, 32, 3), dtype=np.uint8)]
    still, shaky = (still_jitter(Told(gain=gain), crops, Reader(), seed=1) for gain in (1.0, 5.0))
    assert still["exact"] == shaky["exact"] == 0.0
    # Noise of .01, cut off at 0: its standard deviation is .0058.
    assert still["noisy"] is not None and 0.003 < still["noisy"] < 0.008
    assert shaky["noisy"] == pytest.approx(5 * still["noisy"], rel=0.3)
    assert still_jitter(Told(refuses=True), crops, Reader(), seed=1) == {"exact": None, "noisy": None}


# Pictures


def test_images_and_frames_are_each_others_inverse(rng: np.random.Generator) -> None:
    frames = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    images = to_images(frames)
    assert images.shape == (3, 3, 8, 8) and images.min() >= -1 and images.max() <= 1
    assert images[0, 2, 1, 3].item() == pytest.approx(frames[0, 1, 3, 2] / 127.5 - 1)
    np.testing.assert_array_equal(to_frames(images), frames)
    np.testing.assert_array_equal(to_frames(images * 0 + 1.5), np.full_like(frames, 255))  # no wrap-around


def test_models_get_names_of_their_own() -> None:
    assert unique_names([Path("run/model.safetensors"), Path("x/edge.icface")]) == ["model", "edge"]
    assert unique_names([Path("/a/model.safetensors"), Path("/b/model.safetensors")]) == [
        "a-model",
        "b-model",
    ]
    same = [Path("/a/model.safetensors")] * 2
    assert len(set(unique_names(same))) == 2


def test_a_sheet_puts_every_tile_in_its_place() -> None:
    colours: list[list[tuple[int, int, int] | None]] = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), None]]
    tiles = [[None if c is None else np.full((16, 16, 3), c, np.uint8) for c in row] for row in colours]
    picture = figures.sheet(tiles, ["a long label that needs several lines", "unbreakable" * 9], ["x", "y"])
    step = figures.TILE_PX + figures.GAP_PX
    (height, width), places = picture.shape[:2], (1.5 * step, 0.5 * step)
    for y, row in zip((height - place for place in places), colours, strict=True):
        for x, colour in zip((width - place for place in places), row, strict=True):
            found = tuple(picture[int(y), int(x)])
            assert found == (colour or (225, 225, 225))
    assert (picture[0] == 255).all()  # labels stay inside


def test_mixing_takes_only_what_is_named() -> None:
    base, donor = np.zeros(COUNT, np.float32), np.ones(COUNT, np.float32)
    found = figures.mixed(base, donor, figures.MOUTH)
    assert found[INDEX["AU12"]] == 1 and found[INDEX["AU45"]] == found[INDEX["yaw"]] == 0
    assert not base.any()
    assert set(figures.MOUTH) | set(figures.EYES) | {"pitch", "yaw", "roll"} == set(NAMES)


def test_figures_ask_models_for_what_they_show(data: FaceTracks) -> None:
    scenes = figures.scenes_of(data, self_tasks(data, tracks_of(data, "test", None, 1), 4)[:2])
    scene = scenes[0]
    task = self_tasks(data, tracks_of(data, "test", None, 1), 4)[0]
    values = np.array(data.all_values().attributes[list(task.driving)])
    # The data's frames turn ever further; expressions grow, too.
    turn = np.abs(values[:, :3] - 0.5).sum(1)
    np.testing.assert_array_equal(scene.turned.attributes, values[turn.argmax()])
    assert not np.array_equal(scene.acting.attributes, scene.turned.attributes)
    asked: list[np.ndarray] = []

    class Listening(Told):
        def animate(self, attributes: FloatArray) -> Frame:
            asked.extend(attributes)
            return super().animate(attributes)

    model = Listening()

    def said(figure: np.ndarray, index: int) -> np.ndarray:
        assert figure.dtype == np.uint8 and figure.shape[2] == 3
        wanted = [a for a in asked if not np.array_equal(a, neutral(COUNT))]
        asked.clear()
        return wanted[index]

    expression = said(figures.expression_only([model], scenes), 0)
    np.testing.assert_array_equal(expression[:3], scene.source.attributes[:3])
    np.testing.assert_array_equal(expression[3:], scene.acting.attributes[3:])
    both = said(figures.mixed_pose_expression([model], scenes), 0)
    np.testing.assert_array_equal(both[:3], scene.turned.attributes[:3])
    np.testing.assert_array_equal(both[3:], scenes[1].acting.attributes[3:])
    parts = said(figures.mixed_mouth_eyes([model], scenes), 0)
    np.testing.assert_array_equal(parts[:3], scene.source.attributes[:3])
    assert parts[INDEX["AU12"]] == scene.mouth.attributes[INDEX["AU12"]]
    assert parts[INDEX["AU45"]] == scenes[1].eyes.attributes[INDEX["AU45"]]
    mixes = control_figures.figure_4b(model, scenes)
    assert mixes.dtype == np.uint8
    donors = [
        scene.source,
        scenes[1].acting,
        scenes[0].turned,
    ]  # with two people the second next is the first
    wanted = [a for a in asked if not np.array_equal(a, neutral(COUNT))][:6]
    asked.clear()
    for values, (pose, mouth, eyes) in zip(wanted, permutations(donors), strict=True):
        np.testing.assert_array_equal(values[:3], pose.attributes[:3])
        assert values[INDEX["AU12"]] == mouth.attributes[INDEX["AU12"]]
        assert values[INDEX["AU45"]] == eyes.attributes[INDEX["AU45"]]
    first, last = said(figures.multi_view(model, scenes[:1]), 0), None
    assert first[INDEX["yaw"]] == pytest.approx(0.3)
    last = said(figures.au_sweep(model, scene), -1)
    assert last[INDEX["AU45"]] == 1 and last.sum() == pytest.approx(2.5)


def test_figure_1_has_every_way_of_control(data: FaceTracks) -> None:
    tasks = self_tasks(data, tracks_of(data, "test", None, 1), 5)
    asked: list[np.ndarray] = []

    class Listening(Told):
        def animate(self, attributes: FloatArray) -> Frame:
            asked.extend(attributes)
            return super().animate(attributes)

    picture = control_figures.figure_1(Listening(), data, tasks)
    assert picture.shape[0] > 9 * figures.TILE_PX
    own = data.values_of([tasks[0].source]).attributes[0]
    d1, d2, d3 = (np.array(data.values_of(tasks[i].driving).attributes) for i in (1, 2, 3))
    d1 = d1[d1[:, INDEX["yaw"]].argsort()]
    d2 = d2[d2[:, 3:].sum(axis=1).argsort()]
    pose, expression, parts, mixes, whole, numbers = np.array(asked)[1:].reshape(
        6, 5, COUNT
    )  # first: the neutral
    mouth, eyes = ([INDEX[name] for name in names] for names in (figures.MOUTH, figures.EYES))
    np.testing.assert_array_equal(pose, np.hstack([d1[:, :3], np.tile(own[3:], (5, 1))]))
    np.testing.assert_array_equal(expression, np.hstack([np.tile(own[:3], (5, 1)), d2[:, 3:]]))
    np.testing.assert_array_equal(parts[:, :3], np.tile(own[:3], (5, 1)))
    np.testing.assert_array_equal(parts[:, mouth], d1[:, mouth])
    np.testing.assert_array_equal(parts[:, eyes], d2[:, eyes])
    np.testing.assert_array_equal(mixes, np.hstack([d1[:, :3], d2[:, 3:]]))
    np.testing.assert_array_equal(whole, d3)
    assert numbers[1, INDEX["yaw"]] == pytest.approx(pose_to_unit([0, math.radians(-22), 0])[1])
    assert numbers[0, INDEX["AU12"]] == pytest.approx(0.9) and numbers[0, INDEX["yaw"]] == 0.5
    # One clip alone drives itself, and a short clip shows a frame again.
    alone = self_tasks(data, tracks_of(data, "test", 1, 1), 2)
    assert control_figures.figure_1(Told(), data, alone).shape == picture.shape


def test_figures_leave_room_for_a_model_that_refuses(data: FaceTracks) -> None:
    scenes = figures.scenes_of(data, self_tasks(data, tracks_of(data, "test", None, 1), 4)[:2])
    with_it = figures.reenactment([Told(), Told(refuses=True)], scenes)
    assert with_it.shape == figures.reenactment([Told(), Told()], scenes).shape
    figures.neutral_row([Told(refuses=True)], scenes)
    figures.au_sweep(Told(refuses=True), scenes[0])
    control_figures.figure_4b(Told(refuses=True), scenes)


def test_the_response_plot_stands_gaps() -> None:
    crops = [np.zeros((32, 32, 3), dtype=np.uint8)]
    results = {
        "good": response(Told(), crops, Reader()),
        "none": response(Told(refuses=True), crops, Reader()),
    }
    results["good"]["attributes"]["AU12"]["shown_mean"][2] = None
    plot = figures.response_plot(results)
    assert plot is not None and plot.ndim == 3
    assert figures.response_plot({"none": results["none"]}) is None
