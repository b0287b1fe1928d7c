"""The photo's own pose and expression: the rig shows the photo again as it was."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Tensors
from icface.attributes import ALL_NAMES, AU_NAMES, GAZE, INDEX, POSE, SHAPE_NAMES, SIZE, pose_from_unit
from icface.face.landmarks import open_detector
from icface.geometry.eyes import seen_gaze
from icface.geometry.own import own_attributes
from icface.geometry.prepare import crop_affine, prepare_source, render
from icface.geometry.reading import read_photo
from icface.geometry.rig import AU_GAIN, POSE_GAIN, SHAPE_GAIN, FaceRig
from icface.geometry.shape import rotation_matrix
from icface.images import cut_crop, load_photo
from tests.conftest import shared_file


@pytest.fixture(scope="module")
def reading(repository: Path) -> Tensors:
    photo = load_photo(repository / "examples/source.jpg")
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo.frame)
    affine = crop_affine(face.points_px, (photo.frame.shape[1], photo.frame.shape[0]), 256)
    return read_photo(photo.frame, face, affine, 256)


def moved(reading: Tensors, turn_rad: tuple[float, float, float] = (0, 0, 0), **values: float) -> Tensors:
    """The reading of the same face as if it had been photographed with these movements."""
    action_units = np.array([values.get(name, 0.0) for name in AU_NAMES], dtype=np.float32) * AU_GAIN
    others = np.array([values.get(name, 0.0) for name in SHAPE_NAMES], dtype=np.float32) * SHAPE_GAIN
    shape = FaceRig(reading).moved(action_units, others, 0.0)
    return {**reading, "photo_shape": shape, "rotation": rotation_matrix(*turn_rad)}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"AU12": 0.6, "AU06": 0.3, "AU25": 0.5},
        {"AU01": 0.4, "AU02": 0.3, "AU26": 0.5, "AU25": 0.6},
        {"AU04": 0.5, "AU15": 0.4, "AU12_side": 0.4, "AU12": 0.3, "mouth_side": -0.3},
    ],
)
def test_what_was_photographed_is_found_again(reading: Tensors, values: dict[str, float]) -> None:
    own = own_attributes(moved(reading, (0, 0, 0), **values), reading)
    found = dict(zip(ALL_NAMES, own.tolist(), strict=True))
    for name in (*AU_NAMES, *SHAPE_NAMES):
        assert found[name] == pytest.approx(values.get(name, 0.0), abs=0.06), name


def test_the_own_pose_turns_the_rig_as_the_photo_was(reading: Tensors) -> None:
    turn_rad = (0.1, -0.3, 0.05)
    cache = {**reading, "pose_offset_rad": np.array([0.02, -0.05, 0.0], dtype=np.float32)}
    own = own_attributes(moved(reading, turn_rad), cache)
    shown_rad = pose_from_unit(own[POSE]) * POSE_GAIN + cache["pose_offset_rad"]
    np.testing.assert_allclose(shown_rad, turn_rad, atol=1e-4)


def test_a_smile_that_is_taken_out_of_all_frames_is_put_back(reading: Tensors) -> None:
    cache = {**reading, "au_offset": np.zeros(len(AU_NAMES), dtype=np.float32)}
    cache["au_offset"][AU_NAMES.index("AU12")] = -0.28
    plain, offset = (
        own_attributes(moved(reading, AU12=0.3), each)[INDEX["AU12"]] for each in (reading, cache)
    )
    assert offset - plain == pytest.approx(0.28 / AU_GAIN[AU_NAMES.index("AU12")], abs=0.01)


def test_the_own_gaze_is_what_is_seen(reading: Tensors) -> None:
    gaze_rad = np.array([0.0, -0.2], dtype=np.float32)
    looking = {**moved(reading, (0.0, 0.3, 0.0)), "gaze_rad": gaze_rad}
    own = own_attributes(looking, reading)
    turned_rad = float(pose_from_unit(own[POSE])[1])
    assert seen_gaze(float(own[GAZE][1]) * 0.6, turned_rad) == pytest.approx(-0.2, abs=1e-3)


def test_a_smiling_photo_is_shown_again_as_it_was() -> None:
    """With its own numbers the picture is nearer to the photo than the neutral one, most of all at the mouth."""
    photo = load_photo(shared_file("data/openpeople/P002_happy.jpg"))
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo.frame)
        cache = prepare_source(photo.frame, face, detector, 256)
    assert cache["own"].shape == (SIZE,)
    crop = cut_crop(photo.frame, cache["crop_to_photo"], 256).astype(int)
    mouth = slice(150, 215), slice(90, 170)
    own, neutral = (
        np.abs(picture[..., :3][mouth].astype(int) - crop[mouth]).mean()
        for picture in (render(cache, cache["own"]), cache["neutral"])
    )
    assert own < 0.6 * neutral
