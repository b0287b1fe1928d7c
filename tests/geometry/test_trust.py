"""How far a network is off a neutral face."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from icface.arrays import Frame, Tensors
from icface.face.landmarks import open_detector
from icface.geometry.prepare import prepare_source
from icface.geometry.trust import rest_change
from icface.images import load_photo
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
SIZE_PX = 256


def test_it_is_the_mean_over_the_face_alone() -> None:
    photo = load_photo(REPOSITORY / "examples/rendered.jpg").frame
    with closing(open_detector(video=False)) as detector:
        (face,) = detector.detect(photo)
        cache = prepare_source(photo, face, detector, SIZE_PX)

    def darker(levels: int, where: slice) -> float:
        def corrected(cache: Tensors, motion: Tensors) -> Frame:
            frame: Frame = cache["neutral"].copy()
            frame[where] -= np.minimum(frame[where], levels).astype(np.uint8)
            return frame

        return float(rest_change(cache, corrected))

    everywhere, hair = slice(None), slice(0, SIZE_PX // 8)
    assert darker(0, everywhere) == 0
    assert darker(4, everywhere) == pytest.approx(4, abs=0.3)  # black pixels stay black
    assert darker(4, hair) == 0
