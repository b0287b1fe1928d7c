"""Damaged files: what can be read is read, at its own time, and what is missing is said."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from icface.errors import ConfigError
from realtime.cameras import CameraConfig, CapturedFrame, open_camera
from tests.conftest import REPOSITORY
from tests.realtime.clips import write_clip

STEADY = tuple(i / 25 for i in range(50))
KINDS: dict[str, dict[str, Any]] = {
    "clip.mp4": {},
    "clip.avi": {"codec": "mpeg4", "tick_s": Fraction(1, 25)},
    "motion.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "tick_s": Fraction(1, 25)},
    "clip.webm": {"codec": "libvpx-vp9", "tick_s": Fraction(1, 1000)},
}


def read(path: Path) -> tuple[list[CapturedFrame], str, float | None]:
    """The frames, what is missing, and the end."""
    with open_camera(CameraConfig(device=str(path))) as camera:
        return list(camera.frames()), camera.missing, camera.end_s


def damage(path: Path, number: int) -> None:
    """Set 8 bytes of a packet to FF, where its codec notices."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    place = data.index(packets[number]) + (4 if path.name == "motion.avi" else 0)
    data[place : place + 8] = b"\xff" * 8
    path.write_bytes(data)


@pytest.mark.parametrize("name", KINDS)
def test_what_follows_a_damaged_packet_is_read_at_its_own_time(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_clip(tmp_path / name, STEADY, **KINDS[name])
    whole, nothing, end_s = read(path)
    assert len(whole) == 50 and nothing == ""
    damage(path, 20)
    with caplog.at_level(logging.WARNING, logger="realtime.cameras"):
        frames, missing, damaged_end_s = read(path)
    assert len(frames) >= 49 and damaged_end_s == end_s
    times_s = [frame.time_s for frame in frames]
    assert set(times_s) <= {frame.time_s for frame in whole} and times_s[-1] == whole[-1].time_s
    assert caplog.text.count(f"{name} is damaged at 0.80 s") == 1
    assert missing.startswith(f"{path}: 1 picture is damaged or lost (first at 0.80 s)")
    # Each picture of MJPEG stands alone. In MP4 and WebM only the first one is a key picture.
    if name != "clip.avi":
        told = "" if name == "motion.avi" else ", and 29 that build on such may be wrong"
        assert missing.endswith(f"(first at 0.80 s){told}")


@pytest.mark.parametrize("name", ["still.avi", "clip.mov"])
def test_damage_that_a_decoder_would_hide_is_told(tmp_path: Path, name: str) -> None:
    """MJPEG shows rubbish without a word unless it is asked, and HEVC leaves the picture out."""
    codec, pix_fmt = ("mjpeg", "yuvj420p") if name == "still.avi" else ("libx265", "yuv420p")
    path = write_clip(
        tmp_path / name, STEADY, tick_s=Fraction(1, 25), key_every=10, codec=codec, pix_fmt=pix_fmt
    )
    whole, nothing, end_s = read(path)
    assert len(whole) == 50 and nothing == ""
    with av.open(str(path)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][20]
    data = bytearray(path.read_bytes())
    start = data.index(packet)
    if name == "still.avi":
        data[start + len(packet) // 2 : start + len(packet)] = b"\x55" * (len(packet) - len(packet) // 2)
    else:
        data[start + 4 : start + 6] = b"\x7e\x01"  # the header of a unit that nobody knows
    path.write_bytes(data)
    frames, missing, damaged_end_s = read(path)
    assert len(frames) == 49 and damaged_end_s == end_s
    assert missing.startswith(f"{path}: 1 picture is damaged or lost (first at 0.")


def test_a_smeared_picture_of_h264_is_told(tmp_path: Path) -> None:
    """Half a packet is rubbish in a film of a usual size: the decoder guesses the rest of the picture, and goes on."""
    path = tmp_path / "clip.mp4"
    data = bytearray((REPOSITORY / "examples/driver.mp4").read_bytes())
    with av.open(REPOSITORY / "examples/driver.mp4") as container:
        packet = [bytes(packet) for packet in container.demux(video=0) if packet.size][60]
    place = data.index(packet) + len(packet) // 2
    data[place : place + 40] = b"\xff" * 40
    path.write_bytes(data)
    frames, missing, _ = read(path)
    assert len(frames) == 240
    assert missing.startswith(f"{path}: 1 picture is damaged or lost (first at ")


@pytest.mark.parametrize("name", ["clip.mp4", "motion.avi"])
def test_damage_in_the_first_packet_moves_nothing(tmp_path: Path, name: str) -> None:
    # Every tenth picture stands alone.
    path = write_clip(tmp_path / name, STEADY, key_every=10, **KINDS[name])
    whole, _, end_s = read(path)
    damage(path, 0)
    frames, missing, damaged_end_s = read(path)
    assert len(frames) >= 40
    lost = 50 - len(frames)
    assert (
        missing
        == f"{path}: {lost} {'pictures are' if lost > 1 else 'picture is'} damaged or lost (first at 0.00 s)"
    )
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in whole][-len(frames) :]
    assert damaged_end_s == end_s


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm"])
def test_a_file_that_was_cut_short_says_how_much_is_missing(tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"movflags": "faststart"} if name == "clip.mp4" else {}
    path = write_clip(tmp_path / name, STEADY, sound="libopus", key_every=10, **KINDS[name], **options)
    assert read(path)[1] == ""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, missing, end_s = read(path)
    assert 15 < len(frames) < 45 and end_s is not None
    assert "it is cut short" in missing and f"{end_s:.2f} s are there" in missing


def test_a_recording_without_its_index_is_told_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", STEADY[:5])
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(ConfigError, match=r"its index \(moov\), which recorders write last, is missing"):
        read(path)
    path.write_bytes(data[:8] + b"\xff" * 99)
    with pytest.raises(ConfigError, match="is not a video that can be read"):
        read(path)


def test_a_recording_that_begins_between_key_pictures_is_not_damaged(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.ts", STEADY, key_every=20)
    begun = tmp_path / "begun.ts"
    data = whole.read_bytes()
    begun.write_bytes(data[len(data) // 4 // 188 * 188 :])
    frames, missing, _ = read(begun)
    assert 25 <= len(frames) < 45 and missing == ""
