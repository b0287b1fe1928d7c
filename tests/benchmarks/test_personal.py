"""What the comparison of two generators counts: means, the share that is won, whichever way is better."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.personal import Shown, sheet, summary


def test_means_and_wins() -> None:
    crop = np.zeros((256, 256, 3), dtype=np.uint8)
    rows = [
        ({"mouth psnr_db": 20.0, "mouth perceptual": 0.4}, {"mouth psnr_db": 22.0, "mouth perceptual": 0.5}),
        ({"mouth psnr_db": 24.0, "mouth perceptual": 0.4}, {"mouth psnr_db": 23.0, "mouth perceptual": 0.1}),
        ({"mouth psnr_db": 20.0, "mouth perceptual": 0.4}, {"mouth psnr_db": 20.0, "mouth perceptual": 0.2}),
    ]
    shown = [Shown("frame", crop, (crop + 1, crop + 2), figures) for figures in rows]
    found = summary(shown)
    assert found["mouth psnr_db"]["own"] == pytest.approx(65 / 3)
    assert found["mouth psnr_db"]["won"] == 0.5  # the third frame is a draw
    assert found["mouth perceptual"]["won"] == pytest.approx(2 / 3)
    assert found["mouth perceptual"]["p"] == pytest.approx(1.0)
    # As much detail as the real frame has is best: half of it is as far off as twice.
    both = [({"mouth detail": 0.5}, {"mouth detail": 1.6}), ({"mouth detail": 0.9}, {"mouth detail": 1.3})]
    found = summary([Shown("frame", crop, (crop, crop), figures) for figures in both])
    assert found["mouth detail"]["won"] == 0.5
    picture = sheet(shown[:2])
    assert picture.shape == (3 * 256, 2 * 256, 3)
    assert picture[::256, 0, 0].tolist() == [0, 1, 2]
