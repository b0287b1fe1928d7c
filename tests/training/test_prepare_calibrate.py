"""A person's neutral, learned from whole videos: by made-up faces of which the neutral is known."""

from __future__ import annotations

import numpy as np
import pytest

from icface.attributes import INDEX
from icface.face.action_units import BLENDSHAPE_NAMES, Baseline, population, population_spread
from icface.face.features import INDEX as F
from icface.face.features import NAMES
from training.preparation.calibrate import Measured, attributes_of, learn_baseline

SMILE = {"corner_width": 0.12, "corner_height": 0.08, "corner_lift": 0.08, "corner_depth": -0.02}


def own_face(rng: np.random.Generator) -> np.ndarray:
    """A person within one standard deviation of the population, eyes and lips as everybody's."""
    face = population().features + population_spread() * rng.uniform(-1, 1, len(NAMES))
    for name in (
        "ear_right",
        "ear_left",
        "lip_gap",
        "corner_width",
        "corner_height",
        "corner_lift",
        "corner_depth",
    ):
        face[F[name]] = population().features[F[name]]
    return np.asarray(face)


def clip(face: np.ndarray, rng: np.random.Generator, frames: int = 100, pitch_rad: float = 0.1) -> Measured:
    """At rest, trembling a little."""
    return Measured(
        features=face + rng.normal(0, 0.002, (frames, len(NAMES))),
        blendshapes=np.tile(population().blendshapes, (frames, 1)).astype(np.float32),
        pose_rad=np.tile([pitch_rad, 0.0, 0.0], (frames, 1)),
        times_s=np.arange(frames) / 25,
    )


def with_smile(seen: Measured, part: slice) -> Measured:
    for name, change in SMILE.items():
        seen.features[part, F[name]] += change
    raised(seen, part, "mouthSmileLeft", 0.6)
    raised(seen, part, "mouthSmileRight", 0.6)
    return seen


def raised(seen: Measured, part: slice, name: str, change: float) -> None:
    seen.blendshapes[part, BLENDSHAPE_NAMES.index(name)] += change


def test_the_neutral_of_a_calm_person_is_found(rng: np.random.Generator) -> None:
    face = own_face(rng)
    baseline = learn_baseline([clip(face, rng, 300)], population())
    # A closed mouth is a low quantile of the lips' gap, 1.3 standard deviations of the trembling below its middle.
    face[F["lip_gap"]] -= 1.28 * 0.002
    distance = np.abs(baseline.features - face) / population_spread()
    assert distance.max() < 0.1
    assert baseline.pitch_rad == pytest.approx(0.1, abs=0.005)


def test_expressions_turned_heads_and_closed_eyes_do_not_count(rng: np.random.Generator) -> None:
    face = own_face(rng)
    seen = with_smile(clip(face, rng, 300), slice(0, 90))
    seen.features[100:130, [F["ear_right"], F["ear_left"]]] *= 0.2
    raised(seen, slice(100, 130), "eyeBlinkLeft", 0.65)
    raised(seen, slice(100, 130), "eyeBlinkRight", 0.65)
    seen.pose_rad[130:200, 1] = 0.5
    seen.features[130:200, F["brow_inner"]] += 0.05
    raised(seen, slice(130, 200), "browInnerUp", 0.5)
    baseline = learn_baseline([seen], population())
    assert (np.abs(baseline.features - face) / population_spread()).max() < 0.2
    values = attributes_of(seen, baseline)
    assert values[:90, INDEX["AU12"]].min() > 0.7
    assert values[200:, INDEX["AU12"]].max() < 0.05
    assert values[100:130, INDEX["AU45"]].min() > 0.9
    assert values[200:, 3:].max() < 0.2


def test_few_frames_lean_on_what_was_believed_before(rng: np.random.Generator) -> None:
    face = population().features.copy()
    face[F["brow_inner"]] += 0.018
    few = learn_baseline([clip(face, rng, 5)], population())
    moved = few.features[F["brow_inner"]] - population().features[F["brow_inner"]]
    assert moved == pytest.approx(0.018 * 5 / 10, abs=0.002)
    nothing = clip(face, rng, 5)
    nothing.pose_rad[:, 1] = 0.6
    assert learn_baseline([nothing], population()) is population()


def test_a_face_far_from_the_prior_at_rest_is_still_taken_for_neutral(rng: np.random.Generator) -> None:
    """High brows in a short clip: at first every frame seems to raise them."""
    face = population().features.copy()
    face[[F["brow_inner"], F["brow_outer"]]] += 0.06
    seen = clip(face, rng, 40)
    seen.features[25:35, F["brow_inner"]] += 0.03
    raised(seen, slice(25, 35), "browInnerUp", 0.3)
    values = attributes_of(seen, learn_baseline([seen], population()))
    assert values[:25, INDEX["AU01"]].mean() < 0.2
    assert values[25:35, INDEX["AU01"]].mean() > values[:25, INDEX["AU01"]].mean() + 0.4


def test_a_video_leans_on_the_person_not_on_the_population(rng: np.random.Generator) -> None:
    face = own_face(rng)
    person = learn_baseline([clip(face, rng, 300)], population())
    video = learn_baseline([clip(face, rng, 3)], person)
    assert (np.abs(video.features - face) / population_spread()).max() < 0.2


def test_who_smiles_all_the_time_is_not_neutral(rng: np.random.Generator) -> None:
    seen = with_smile(clip(population().features.copy(), rng, 200), slice(None))
    values = attributes_of(seen, learn_baseline([seen], population()))
    assert values[:, INDEX["AU12"]].mean() > 0.4


def test_a_nod_on_the_boundary_of_two_pieces_is_no_movement(rng: np.random.Generator) -> None:
    """Where a clip is cut, time may stand or run back: no speed can be told there."""
    face = own_face(rng)
    seen = clip(face, rng, 40)
    seen.times_s[20:] = seen.times_s[:20]
    assert np.isfinite(learn_baseline([seen], population()).features).all()


def test_pose_is_taken_from_the_persons_own_and_clamped(rng: np.random.Generator) -> None:
    seen = clip(population().features.copy(), rng, 3)
    seen.pose_rad[:] = [[0.1, 0.0, 0.0], [0.1, 0.35, -0.7], [0.1, 2.0, 0.0]]
    baseline = Baseline(features=population().features, blendshapes=population().blendshapes, pitch_rad=0.1)
    values = attributes_of(seen, baseline)
    np.testing.assert_allclose(values[:, :3], [[0.5, 0.5, 0.5], [0.5, 0.75, 0.0], [0.5, 1.0, 0.5]], atol=1e-6)
    assert values.dtype == np.float32 and values.shape == (3, 20)


def test_an_odd_camera_angle_is_believed_within_bounds(rng: np.random.Generator) -> None:
    """Somebody who looks down at a desk all the time is not looking straight ahead."""
    seen = clip(population().features.copy(), rng, 2000, pitch_rad=0.6)
    assert learn_baseline([seen], population()).pitch_rad == pytest.approx(
        population().pitch_rad + 0.2, abs=0.005
    )


def test_blendshapes_have_a_neutral_of_their_own(rng: np.random.Generator) -> None:
    seen = clip(population().features.copy(), rng, 300)
    seen.features[:60, F["brow_inner"]] += 0.05
    scores = np.tile(population().blendshapes, (300, 1)) + np.abs(rng.normal(0, 0.01, (300, 52)))
    scores[:, 3] = 0.4  # browInnerUp, always
    scores[:60, 3] = 0.9
    measured = Measured(
        features=seen.features,
        blendshapes=scores.astype(np.float32),
        pose_rad=seen.pose_rad,
        times_s=seen.times_s,
    )
    baseline = learn_baseline([measured], population())
    assert baseline.blendshapes[3] == pytest.approx(0.4, abs=0.03)
    values = attributes_of(measured, baseline)
    assert values[:60, INDEX["AU01"]].min() > 0.6 and values[60:, INDEX["AU01"]].max() < 0.1
