"""Pictures with alpha on their way into files, windows and cameras: decoded again, and compared."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from realtime.disclosure import Mark, Provenance
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.sinks import TICK_S, Sink, SinkSettings, create_sink, is_picture_series
from realtime.transparency import straight
from tests.realtime.test_sinks import make_driver, samples

FPS = Fraction(25)
WIDTH, HEIGHT = 96, 64
ORANGE = (240, 120, 20)


def disc() -> Frame:
    """An orange disc with a soft edge on nothing: (64, 96, 4), colours multiplied by alpha."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    alpha = np.clip((24 - np.hypot(x - 48, y - 32)) / 8 + 0.5, 0, 1)[..., None]
    return np.round(np.dstack([alpha * np.array(ORANGE), 255 * alpha])).astype(np.uint8)


def written(
    path: Path, *, count: int = 4, size_px: tuple[int, int] = (WIDTH, HEIGHT), audio: Path | None = None
) -> None:
    name = "picture_files" if is_picture_series(path) else "video_file"
    settings = SinkSettings(path=path, transparent=True, audio_from=audio, provenance=Provenance(version="7"))
    frame = disc()[: size_px[1], : size_px[0]].copy()
    with create_sink(name, settings) as sink:
        assert sink.takes_alpha
        sink.open(*size_px, FPS)
        for index in range(count):
            sink.send(frame, index / 25)


def decoded(path: Path) -> list[Frame]:
    """Straight RGBA. FFmpeg's own VP9 decoder knows no alpha; libvpx does."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if path.suffix == ".mov":
            return [
                np.asarray(frame.to_ndarray(format="rgba"), dtype=np.uint8)
                for frame in container.decode(stream)
            ]
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        frames = [
            frame for packet in container.demux(stream) if packet.size for frame in decoder.decode(packet)
        ]
        return [np.asarray(frame.to_ndarray(format="rgba"), dtype=np.uint8) for frame in frames]


@pytest.mark.parametrize(("suffix", "exact"), [(".mov", 3), (".webm", 24)])
def test_a_transparent_video_has_the_alpha_and_straight_colours(
    tmp_path: Path, suffix: str, exact: int
) -> None:
    path = tmp_path / f"out{suffix}"
    written(path)
    frames = decoded(path)
    assert len(frames) == 4
    expected, got = disc(), frames[-1].astype(int)
    assert np.abs(got[..., 3] - expected[..., 3]).mean() < 1
    assert np.abs(got[..., 3] - expected[..., 3]).max() <= exact
    # At the soft edge the colour is the disc's own: black there would be a dark fringe.
    edge = (expected[..., 3] > 40) & (expected[..., 3] < 215)
    assert edge.sum() > 100
    assert np.abs(got[..., :3][edge] - ORANGE).mean() < 10
    assert np.abs(got[..., :3][expected[..., 3] == 255] - ORANGE).mean() < 6


def test_a_transparent_video_has_the_drivers_sound(tmp_path: Path) -> None:
    driver = make_driver(tmp_path / "driver.mp4")
    for suffix in (".mov", ".webm"):
        path = tmp_path / f"out{suffix}"
        written(path, count=25, audio=driver)
        wave, rate = samples(path)
        assert len(wave) / rate == pytest.approx(1.0, abs=0.1) and np.abs(wave).max() > 0.3


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_odd_sides_are_made_even(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    written(path, count=1, size_px=(95, 63))
    assert decoded(path)[0].shape == (64, 96, 4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_files_without_transparency_are_refused_with_what_to_take(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ConfigError, match=r"no transparency; take \.mov, \.webm or PNG"):
        create_sink("video_file", SinkSettings(path=tmp_path / f"out{suffix}", transparent=True))


@pytest.mark.parametrize("name", ["", "out-%03d.png", "out %d.PNG"])
def test_pictures_are_numbered_straight_and_say_what_they_are(tmp_path: Path, name: str) -> None:
    written(tmp_path / name if name else tmp_path)
    named = {"": "frame-{:06d}.png", "out-%03d.png": "out-{:03d}.png", "out %d.PNG": "out {}.PNG"}[name]
    assert sorted(p.name for p in tmp_path.iterdir()) == [named.format(i) for i in (1, 2, 3, 4)]
    with Image.open(tmp_path / named.format(4)) as image:
        assert image.mode == "RGBA" and "ICface Live 7" in image.text["comment"]  # type: ignore[attr-defined]
        got = np.asarray(image).astype(int)
    expected = disc()
    np.testing.assert_array_equal(got[..., 3], expected[..., 3])
    seen = expected[..., 3] > 30
    assert np.abs(got[..., :3][seen] - ORANGE).max() <= 5


def test_opaque_pictures_are_files_too(tmp_path: Path) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with create_sink("picture_files", SinkSettings(path=tmp_path)) as sink:
        sink.open(WIDTH, HEIGHT, FPS)
        sink.send(frame, 0.0)
        sent = frame.copy()
        frame[:] = 0  # the caller may overwrite it
    with Image.open(tmp_path / "frame-000001.png") as image:
        np.testing.assert_array_equal(np.asarray(image), sent)


def test_earlier_pictures_are_neither_mixed_with_nor_deleted(tmp_path: Path) -> None:
    written(tmp_path / "a-%d.png", count=2)
    with pytest.raises(DeviceError, match=r"a-\d\.png is there already"):
        written(tmp_path / "a-%d.png", count=1)
    written(tmp_path / "b-%d.png", count=1)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["out.png", "out-%d-%d.png", "out-%s.png"])
def test_a_name_without_a_place_for_the_number_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="numbered"):
        create_sink("picture_files", SinkSettings(path=tmp_path / name))


def test_a_folder_that_vanished_is_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    sink = create_sink("picture_files", SinkSettings(path=folder))
    folder.rmdir()
    with pytest.raises(DeviceError, match="cannot be written"):
        sink.open(WIDTH, HEIGHT, FPS)


class Screen(Sink):
    """Keeps a copy of the last frame; knows no transparency."""

    name = "screen"

    def __init__(self) -> None:
        super().__init__(SinkSettings())
        self.last: Frame | None = None

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None: ...

    def send(self, frame: Frame, time_s: float) -> None:
        self.last = frame.copy()

    def close(self) -> None: ...


class ClearScreen(Screen):
    takes_alpha = True


def test_a_sink_without_transparency_gets_green_where_the_others_have_none() -> None:
    screen, clear = Screen(), ClearScreen()
    outputs = Outputs([screen, clear], Metrics())
    picture = disc()
    outputs.send(picture, 0.0)
    assert screen.last is not None and clear.last is not None
    np.testing.assert_array_equal(clear.last, picture)
    assert screen.last.shape == (HEIGHT, WIDTH, 3)
    assert (screen.last[:5] == (0, 255, 0)).all() and (screen.last[32, 48] == ORANGE).all()
    half = picture[..., 3] == 128
    if half.any():
        assert np.abs(screen.last[half].astype(int) - (120, 187, 10)).max() <= 2


def test_the_mark_is_seen_on_nothing() -> None:
    picture = np.zeros((200, 300, 4), dtype=np.uint8)
    mark = Mark(300, 200)
    mark.apply(picture)
    left, top, right, bottom = mark.box_px
    badge = picture[top:bottom, left:right]
    assert badge[..., 3].max() > 200 and (badge[..., :3] <= badge[..., 3:]).all()
    outside = picture.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()
    # Laid over grey it is what it is when drawn on grey.
    grey = np.full((200, 300, 3), 90, dtype=np.uint8)
    mark.apply(grey)
    laid = badge[..., :3] + (255 - badge[..., 3:].astype(float)) * 90 / 255
    assert np.abs(laid - grey[top:bottom, left:right]).max() <= 2


def test_straight_colours_reach_into_what_is_not_seen() -> None:
    out = straight(disc())
    assert np.abs(out[32, 48 + 29, :3].astype(int) - ORANGE).max() < 30
    np.testing.assert_array_equal(out[..., 3], disc()[..., 3])
