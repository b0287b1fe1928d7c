"""The visible mark: there, readable on light and dark, and nowhere else."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from icface.arrays import Frame
from realtime.check import MARK_THRESHOLD, badge_score
from realtime.disclosure import Mark
from realtime.metrics import Metrics
from realtime.renderer import Renderer, make_scene
from realtime.sinks import even_sides
from tests.realtime.fakes import Animator, smile, source


@pytest.mark.parametrize("size_px", [(512, 512), (256, 256), (1280, 720), (333, 517), (61, 45)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_mark_contrasts_with_any_background_and_stays_in_its_corner(
    size_px: tuple[int, int], level: int
) -> None:
    width_px, height_px = size_px
    mark = Mark(width_px, height_px)
    frame = np.full((height_px, width_px, 3), level, np.uint8)
    mark.apply(frame)

    left, top, right, bottom = mark.box_px
    badge = frame[top:bottom, left:right].astype(int)
    outside = frame.copy()
    outside[top:bottom, left:right] = level
    assert (outside == level).all()
    assert left > width_px / 2 and top > height_px / 2 and right < width_px and bottom < height_px
    assert bottom - top == max(14, round(0.06 * min(size_px)))
    # Letters and pill differ by enough to be read: WCAG asks 4.5:1, which white on grey 118 just has.
    assert badge.max() - badge.min() > 110
    assert np.abs(badge - level).max() > 60


def test_the_mark_is_blended_by_hand_computed_weights() -> None:
    mark = Mark(256, 256)
    dark, light = (np.full((256, 256, 3), level, np.uint8) for level in (0, 200))
    mark.apply(dark)
    mark.apply(light)
    left, top, _, bottom = mark.box_px
    inside = (
        slice(top + 3, bottom - 3),
        left + 4,
    )  # the pill between its rim and the A: opacity 0.62, grey 24
    assert dark[inside].min() == pytest.approx(0.62 * 24, abs=1)
    assert light[inside].min() == pytest.approx(0.62 * 24 + 0.38 * 200, abs=2)


def test_applying_twice_to_the_same_picture_reads_only_that_picture() -> None:
    mark = Mark(64, 64)
    first, second = np.full((2, 64, 64, 3), 90, np.uint8)
    mark.apply(first)
    mark.apply(second)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("size_px", [(16, 16), (8, 40), (40, 8), (1, 1)])
def test_frames_smaller_than_the_mark_get_what_fits(size_px: tuple[int, int]) -> None:
    frame = np.full((size_px[1], size_px[0], 3), 255, np.uint8)
    Mark(*size_px).apply(frame)
    assert frame.min() < 255 or size_px == (1, 1)


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the mark is for"):
        Mark(64, 64).apply(np.zeros((64, 32, 3), np.uint8))


SIZES = {
    "crop 256": ("crop", 256, None),
    "crop 512": ("crop", 512, None),
    "crop of a small photo": ("crop", 190, None),
    "photo 640x480": ("photo", 300, (640, 480)),
    "photo 361x517": ("photo", 200, (361, 517)),
    "call 1280x720": ("call", 512, (1280, 720)),
    "call 1920x1080": ("call", 512, (1920, 1080)),
}


@pytest.mark.parametrize("size", SIZES)
def test_the_virtual_cameras_picture_carries_the_mark_through_h264_at_300_kbit_s(size: str) -> None:
    framing, side, photo_px = SIZES[size]
    scene = make_scene(0, source(side, photo_px or (side, side), (0, 0)), framing, None)
    pictures = {}
    for mark in (True, False):
        renderer = Renderer(Animator(side).as_reenactor(), scene, Metrics(), mark=mark, watermark=True)
        # What the virtual camera is sent.
        frames = [even_sides(renderer.render(smile(0.3 + 0.02 * n))).copy() for n in range(4)]
        pictures[mark] = _through_h264(frames, 300_000)
    assert min(map(badge_score, pictures[True])) >= MARK_THRESHOLD
    assert max(map(badge_score, pictures[False])) < MARK_THRESHOLD


def _through_h264(frames: list[Frame], bits_a_second: int) -> list[Frame]:
    """Compressed as in a call, with noise behind the badge, and read again."""
    rng = np.random.default_rng(3)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", bits_a_second
        rate = str(bits_a_second)
        stream.options = {"preset": "ultrafast", "maxrate": rate, "bufsize": rate, "tune": "zerolatency"}
        for frame in frames:
            grain = rng.integers(-6, 7, frame.shape[:2], dtype=np.int8)[..., None]
            noisy = np.clip(frame.astype(np.int16) + grain, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as reader:
        return [
            frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in reader.decode(video=0)
        ]
