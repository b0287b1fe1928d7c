"""Pictures as a player shows them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from realtime.cameras import CameraConfig, open_camera
from realtime.cameras.shown import fitted


def ring(width_px: int, height_px: int) -> np.ndarray:
    """(H, W, 3) a circle that fills the height of a 4:3 picture, drawn at another width."""
    wide = np.full((240, 320, 3), 40, np.uint8)
    cv2.circle(wide, (160, 120), 90, (230, 230, 230), -1)
    return cv2.resize(wide, (width_px, height_px), interpolation=cv2.INTER_AREA)


def write(path: Path, frames: list[np.ndarray], aspect: Fraction | None = None, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "ultrafast", "crf": "10", **options}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def first(path: Path) -> np.ndarray:
    with open_camera(CameraConfig(device=str(path))) as camera:
        captured = camera.read()
    assert captured is not None
    assert (camera.info.width_px, camera.info.height_px) == captured.frame.shape[1::-1]
    return captured.frame


@pytest.mark.parametrize(
    ("stored_px", "aspect", "shown_px"),
    [
        ((160, 240), Fraction(2), (320, 240)),
        ((320, 120), Fraction(1, 2), (320, 240)),
        ((352, 240), Fraction(10, 11), (352, 264)),
        ((320, 240), Fraction(1), (320, 240)),
        ((320, 240), Fraction(1, 100), (320, 240)),  # a mistake
    ],
)
def test_pixels_are_made_square(
    tmp_path: Path, stored_px: tuple[int, int], aspect: Fraction, shown_px: tuple[int, int]
) -> None:
    frame = first(write(tmp_path / "clip.mp4", [ring(*stored_px)] * 2, aspect))
    assert frame.shape == (shown_px[1], shown_px[0], 3)
    bright = np.argwhere(frame[..., 1] > 130)
    height, width = np.ptp(bright, axis=0) + 1
    assert width == pytest.approx(height, abs=4), "a circle is a circle"


def test_the_fields_of_a_moving_picture_make_no_comb(tmp_path: Path) -> None:
    early, late = np.full((2, 240, 320, 3), 40, np.uint8)
    early[:, 100:180], late[:, 120:200] = 230, 230
    woven = early.copy()
    woven[1::2] = late[1::2]
    plain = first(write(tmp_path / "plain.mp4", [woven] * 2))
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    frame = first(write(tmp_path / "fields.mp4", [woven] * 2, None, **options))

    def comb(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture[20:220, 105:115].astype(float), axis=0)).mean())

    assert comb(plain) > 150 and comb(frame) < 10
    assert frame.shape == plain.shape


def test_a_frame_of_another_shape_keeps_its_proportions() -> None:
    narrow = ring(320, 240)[:, 80:240]  # 160x240
    frame = fitted(narrow, (320, 240))
    np.testing.assert_array_equal(frame[:, 80:240], narrow)
    assert not frame[:, :80].any() and not frame[:, 240:].any()
    assert fitted(narrow, (80, 120)).shape == (120, 80, 3)
