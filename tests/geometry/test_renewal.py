"""A smiling photo is read again from its corrected neutral frame; other photos are not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame, Tensors
from icface.attributes import neutral
from icface.bundle import Bundle
from icface.engines import HostFrames
from icface.face.landmarks import open_detector
from icface.families import Means, edge, open_family
from icface.geometry.prepare import prepare_source, render
from icface.geometry.renewal import is_worth_renewing, renewed
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
        assert is_worth_renewing(cache, face)
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


def test_a_photo_that_does_not_smile_is_left_as_it_is(repository: Path) -> None:
    photo = load_photo(repository / "examples/rendered.jpg").frame
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        assert not is_worth_renewing(prepare_source(photo, face, detector, SIZE_PX), face)


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
