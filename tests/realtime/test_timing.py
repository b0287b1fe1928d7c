"""From a file to a file: every picture at its own time, and the sound in step with it and whole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.cameras import CameraConfig, open_camera
from realtime.sinks import SinkSettings
from tests.realtime.clips import RATE, late_ms, length_s, picture_times, sound_of, write_clip
from tests.realtime.fakes import open_sink

STEADY = tuple(i / 25 for i in range(50))
UNEVEN = (0.0, 0.02, 0.053, 0.1, 0.3, 0.333, 0.35, 0.7, 0.75, 0.9, 1.4, 1.42, 1.7, 1.9)
MS = Fraction(1, 1000)
VP8 = {"codec": "libvpx", "sound": "libopus", "tick_s": MS}


def pass_on(driver: Path, output: Path, frames: int | None = None) -> None:
    """What a run does with the pictures' times and the sound, without a face."""
    with open_camera(CameraConfig(device=str(driver))) as camera:
        info = camera.info
        settings = SinkSettings(path=output, audio_from=driver)
        with open_sink(
            "video_file",
            settings,
            width_px=info.width_px,
            height_px=info.height_px,
            fps=info.fps,
            time_base=info.time_base,
        ) as sink:
            for captured in camera.frames():
                if captured.index == frames:
                    return
                sink.send(captured.frame, captured.time_s)
            sink.finish(camera.end_s)


@pytest.mark.parametrize(
    ("name", "times_s", "kind"),
    [
        ("steady.mp4", STEADY, {"sound": "aac"}),
        ("phone.mp4", UNEVEN, {"sound": "aac", "last_s": 0.2}),
        ("fragments.mp4", UNEVEN, {"sound": "aac", "movflags": "frag_keyframe+empty_moov"}),
        ("browser.webm", UNEVEN, {**VP8, "live": "1"}),
        ("browser.mkv", UNEVEN, {"sound": "libopus", "tick_s": MS, "live": "1"}),
        ("slow.mp4", (0.0, 2.0, 4.0, 6.0), {"sound": "aac", "last_s": 2.0, "fps": Fraction(1, 2)}),
        ("fast.mp4", tuple(i / 480 for i in range(240)), {"last_s": 1 / 480, "fps": Fraction(480)}),
        ("old.avi", STEADY, {"codec": "mpeg4", "sound": "pcm_s16le", "tick_s": Fraction(1, 25)}),
        ("broadcast.ts", STEADY, {"sound": "aac"}),
        ("ntsc.mp4", tuple(i * 1001 / 24000 for i in range(24)), {"fps": Fraction(24000, 1001),
                                                                   "tick_s": Fraction(1, 24000)}),
        ("delays.gif", (0.0, 0.1, 0.13, 0.5, 0.52, 1.2),
         {"codec": "gif", "pix_fmt": "rgb8", "tick_s": Fraction(1, 100), "last_s": 0.7, "final_delay": "70"}),
    ],
)  # fmt: skip
def test_each_picture_has_the_time_of_the_driver_s_and_sound_is_in_step(
    tmp_path: Path, name: str, times_s: tuple[float, ...], kind: dict[str, Any]
) -> None:
    driver = write_clip(tmp_path / name, times_s, **kind)
    given_s = picture_times(driver)
    output = tmp_path / "out.mp4"
    pass_on(driver, output)
    got_s = picture_times(output)
    assert np.subtract(got_s, got_s[0]) == pytest.approx(np.subtract(given_s, given_s[0]), abs=1e-9)
    wanted_s = times_s[-1] - times_s[0] + kind.get("last_s", 0.04)
    if not {"live", "movflags"} & set(kind):  # such files do not say how long the last picture is shown
        assert length_s(output) == pytest.approx(wanted_s, abs=0.011 if name.endswith(".gif") else 2e-3)
    if "sound" not in kind:
        return
    for at_s in (0.0, 0.4, 1.0, 1.4):
        before_ms, after_ms = (
            late_ms(path, at_s + first_s, first_s)
            for path, first_s in ((driver, given_s[0]), (output, got_s[0]))
        )
        assert abs(after_ms - before_ms) < 1, f"at {at_s} s"
    whole, _ = sound_of(driver)
    assert len(sound_of(output)[0]) == pytest.approx(len(whole), abs=1100)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_the_first_packet_of_a_sound_is_there_in_every_container(tmp_path: Path, suffix: str) -> None:
    driver = write_clip(tmp_path / "driver.mp4", STEADY, sound="aac")
    output = tmp_path / f"out{suffix}"
    pass_on(driver, output)
    assert picture_times(output)[0] == 0
    assert abs(late_ms(output, 0.0)) < 1
    assert len(sound_of(output)[0]) >= len(sound_of(driver)[0]) - 48


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize(("pictures_at_s", "sound_at_s"), [(0.5, 0.0), (0.0, 0.37)])
def test_pictures_and_sound_that_begin_apart_stay_apart(
    tmp_path: Path, suffix: str, pictures_at_s: float, sound_at_s: float
) -> None:
    driver = write_clip(
        tmp_path / "driver.mkv",
        STEADY,
        sound="flac",
        tick_s=MS,
        pictures_at_s=pictures_at_s,
        sound_at_s=sound_at_s,
        sound_s=2.5,
    )
    output = tmp_path / f"out{suffix}"
    pass_on(driver, output)
    assert picture_times(output)[0] == pytest.approx(pictures_at_s, abs=1e-3)
    for at_s in (0.5, 1.5):
        assert abs(late_ms(output, at_s, sound_at_s)) < 1.1, f"at {at_s} s"
    assert len(sound_of(output)[0]) >= 2.5 * RATE - 100, "also before the first picture and after the last"


def test_a_hole_in_the_sound_stays_a_hole_when_it_is_encoded_anew(tmp_path: Path) -> None:
    import av

    whole = write_clip(tmp_path / "whole.mkv", STEADY, sound="libopus", tick_s=MS)
    holed = tmp_path / "holed.mkv"
    with av.open(str(whole)) as source, av.open(str(holed), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.pts is None or packet.dts is None:
                continue
            if packet.stream.type == "audio" and 0.5 < packet.pts / 1000 < 1.0:
                continue
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    pass_on(holed, tmp_path / "out.mp4")
    assert abs(late_ms(tmp_path / "out.mp4", 0.1)) < 1
    assert abs(late_ms(tmp_path / "out.mp4", 1.3)) < 1


def test_a_run_that_was_cut_short_ends_its_sound_with_the_pictures(tmp_path: Path) -> None:
    driver = write_clip(tmp_path / "driver.mp4", STEADY, sound="aac")
    pass_on(driver, tmp_path / "out.mp4", frames=25)
    assert len(picture_times(tmp_path / "out.mp4")) == 25
    assert len(sound_of(tmp_path / "out.mp4")[0]) / RATE == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_two_recordings_in_one_file_follow_each_other(tmp_path: Path, suffix: str) -> None:
    one = write_clip(tmp_path / "one.ts", STEADY, sound="aac")
    both, output = tmp_path / "both.ts", tmp_path / f"out{suffix}"
    both.write_bytes(one.read_bytes() * 2)
    pass_on(both, output)
    times_s = picture_times(output)
    assert len(times_s) == 100
    assert np.diff(times_s) == pytest.approx(np.full(99, 0.04), abs=2e-3)
    length = len(sound_of(one)[0])
    assert len(sound_of(output)[0]) == pytest.approx(2 * length, abs=2200)
    second_s = times_s[50] - times_s[0]
    shift_s = late_ms(output, times_s[0] + 0.5, times_s[0]) / 1000
    assert abs(late_ms(output, times_s[0] + second_s + 0.5, times_s[0] + second_s) / 1000 - shift_s) < 0.03
