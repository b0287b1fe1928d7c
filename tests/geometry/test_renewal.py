"""A smiling photo is read again from its corrected neutral frame; other photos are not."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame, Tensors
from icface.attributes import neutral
from icface.bundle import Bundle
from icface.engines import HostFrames, neutralise
from icface.errors import EngineError
from icface.face.landmarks import open_detector
from icface.families import Means, edge, open_family
from icface.geometry.calming import painted
from icface.geometry.contract import CALMED
from icface.geometry.patch import MEASURE_NAMES, MEASURES, PATCH_PX
from icface.geometry.prepare import prepare_source, render
from icface.geometry.renewal import has_expression, renewed, shows_teeth, smiles
from icface.geometry.rig import FaceRig
from icface.geometry.teeth import mouth_anchor
from icface.images import load_photo
from tests.conftest import shared_file

pytestmark = pytest.mark.slow
SIZE_PX = 256


def test_what_the_network_changes_is_in_every_frame_and_teeth_are_kept() -> None:
    photo = load_photo(shared_file("data/london/s_103_08.jpg")).frame
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        cache = prepare_source(photo, face, detector, SIZE_PX)
        assert smiles(face)
        assert shows_teeth(cache)
        marked: list[tuple[int, int]] = []

        def corrected(cache: Tensors, motion: Tensors) -> Frame:
            """A network that paints one cheek blue."""
            gates = motion["gates"][0]
            assert gates[0] == gates[2] > 0
            frame = render(cache, neutral()).copy()
            x, y = (int(value) for value in motion["patch_to_frame"] @ [55, 120, 1])
            cv2.circle(frame, (x, y), 5, (0, 0, 255), -1)
            marked.append((x, y))
            return frame

        made, _, _ = renewed(cache, photo, face, detector, corrected)
    ((x, y),) = marked
    assert made["neutral"].shape == cache["neutral"].shape
    near = made["neutral"][y - 6 : y + 7, x - 6 : x + 7].astype(int)
    assert (near[..., 2] - near[..., 0]).max() > 100
    # The teeth stay where they are on the skull.
    edges = [mouth_anchor(each["neutral_shape"])[1] + each["mouth_rows"][3] for each in (cache, made)]
    assert edges[0] == pytest.approx(edges[1], abs=1e-5)
    np.testing.assert_array_equal(np.delete(made["mouth_rows"], 3), np.delete(cache["mouth_rows"], 3))
    old, new = (_mouth(each) for each in (cache, made))
    np.testing.assert_array_equal(old, new)


def _mouth(cache: Tensors) -> Frame:
    x, y, width, height = cache["mouth_patch"]
    mouth: Frame = cache["inner"][y : y + height, x : x + width]
    return mouth


def test_a_photo_without_expression_is_left_as_it_is(repository: Path) -> None:
    photo = load_photo(repository / "examples/rendered.jpg").frame
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        assert not smiles(face) and not has_expression(face)
        assert not shows_teeth(prepare_source(photo, face, detector, SIZE_PX))


@pytest.mark.parametrize(("name", "were_shut"), [("P009_exhausted", True), ("P009_surprised", False)])
def test_the_whole_face_is_calmed_and_shut_eyes_are_opened(name: str, were_shut: bool) -> None:
    photo = load_photo(shared_file(f"data/openpeople/{name}.jpg")).frame
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        assert has_expression(face)
        cache = prepare_source(photo, face, detector, SIZE_PX)
        seen: list[Tensors] = []

        def calmed(cache: Tensors, motion: Tensors) -> Frame:
            seen.append({name: value.copy() for name, value in motion.items()})
            return render(cache, neutral())

        renewed(cache, photo, face, detector, calmed, whole_face=True)
    gates = seen[0]["gates"][0]
    assert gates[2] > 0
    assert gates[0] == (gates[2] if were_shut else 0), "eyes that the photo shows are the photo's"
    told, eyes = seen[0]["conditions"][0], [MEASURE_NAMES.index(f"{side}_gap") for side in ("right", "left")]
    now, in_photo = told[eyes], told[MEASURES:][eyes]
    assert (now > np.maximum(0.05, 2 * in_photo)).all() if were_shut else (now < 1.02 * in_photo).all()


def test_the_family_renews_by_the_bundles_network(
    corrected_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = load_photo(shared_file("data/london/s_103_08.jpg")).frame
    versions = set()
    with (
        closing(open_detector(video=False)) as detector,
        closing(HostFrames(corrected_bundle)) as frames,
    ):
        (face,) = detector.detect(photo)
        neutrals = []
        for renews in (False, True):
            monkeypatch.setattr(edge, "RENEWS", renews)
            family = open_family(corrected_bundle)
            versions.add(family.version)
            means = Means(
                detector,
                lambda inputs: inputs,
                SIZE_PX,
                corrected=frames,
            )
            neutrals.append(family.prepare(photo, face, means)["neutral"].astype(int))
    assert len(versions) == 2, "prepared photos of the one are never shown as those of the other"
    assert np.abs(neutrals[1] - neutrals[0]).mean() > 0.5


def test_what_the_neutraliser_gives_is_laid_on_the_person(repository: Path) -> None:
    photo = load_photo(repository / "examples/source.jpg").frame
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        cache = prepare_source(photo, face, detector, SIZE_PX)
    motion = FaceRig(cache).motion(neutral())
    correction = np.zeros((1, PATCH_PX, PATCH_PX, 4), np.float32)
    correction[..., 0], correction[..., 3] = 1, 40  # everything stays, and becomes bluer

    def run(inputs: Tensors) -> Tensors:
        assert inputs.keys() == {"patch", "conditions", "gates"}
        assert inputs["patch"].shape == (1, PATCH_PX, PATCH_PX, 4)
        return {CALMED: correction}

    change = painted(run, cache, motion).astype(int) - render(cache, neutral())
    x, y = (int(value) for value in motion["patch_to_frame"] @ [PATCH_PX / 2, PATCH_PX / 2, 1])
    assert change[y, x].tolist() == [0, 0, 40]
    assert not change[0].any(), "above the patch nothing changes"
    correction[0, 5, 5, 1] = np.nan
    with pytest.raises(EngineError, match="values that are no numbers"):
        painted(run, cache, motion)


def test_a_neutraliser_that_fails_leaves_it_to_the_corrector(
    calming_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    photo = load_photo(shared_file("data/london/s_103_08.jpg")).frame

    def fails(inputs: Tensors) -> Tensors:
        raise EngineError("the library is not there")

    with (
        closing(open_detector(video=False)) as detector,
        closing(HostFrames(calming_bundle)) as frames,
    ):
        (face,) = detector.detect(photo)
        means = Means(detector, fails, SIZE_PX, corrected=frames)
        assert open_family(calming_bundle).prepare(photo, face, means)["neutral"].any()
    assert "neutralised without its network: the library is not there" in caplog.text


def test_the_bundles_graph_calms_the_photo(calming_bundle: Bundle) -> None:
    """By both portable engines alike, whichever makes the frames."""
    photo = load_photo(shared_file("data/london/s_103_08.jpg")).frame
    found = []
    with (
        closing(open_detector(video=False)) as detector,
        closing(HostFrames(calming_bundle)) as frames,
    ):
        (face,) = detector.detect(photo)
        for engine in ("host", "onnxruntime"):
            means = Means(detector, partial(neutralise, engine, calming_bundle), SIZE_PX, corrected=frames)
            found.append(open_family(calming_bundle).prepare(photo, face, means)["neutral"].astype(int))
        without = Means(detector, partial(neutralise, "host", calming_bundle), SIZE_PX)
        plain = open_family(calming_bundle).prepare(photo, face, without)["neutral"]
    assert np.abs(found[0] - found[1]).mean() < 0.5
    assert np.abs(found[0] - plain).mean() > 1
