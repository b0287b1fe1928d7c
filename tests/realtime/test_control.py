"""Control from several threads, by flags and by keys."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import AttributeTrack
from icface.control import presets, source
from icface.control.state import Channel, ControlState
from icface.errors import ConfigError
from icface.tables import write_csv
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.recorder import Recorder
from tests.realtime.fakes import Bench, KeepingSink, smile

DRIVERS = ("a.mp4", "b.mp4")


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(presets, "folder", lambda: tmp_path / "presets")
    return tmp_path


def asked(drivers: tuple[str, ...] = DRIVERS, **settings: object) -> ControlState:
    return LiveConfig(sources=(Path("me.jpg"),), null=True, drivers=drivers, **settings).control  # type: ignore[arg-type]


def test_only_leaves_the_rest_to_the_photo() -> None:
    state = asked(only=("pose",))
    taken = {name for name, channel in state.named().items() if channel.source == source.driver(1)}
    assert taken == {"pitch", "yaw", "roll"}
    assert {channel.source for channel in state.channels} == {source.driver(1), source.photo}
    expression = asked(only=("expression",))
    assert expression.channel("AU12_side").source == source.driver(1)
    assert expression.channel("yaw").source == expression.channel("gaze_yaw").source == source.photo


def test_what_names_less_wins_whatever_comes_first() -> None:
    state = asked(mix=("mouth=2", "expression=photo", "left brows=2"), values=("AU12=0.8", "yaw=-12deg"))
    assert state.channel("AU25").source == source.driver(2)
    assert state.channel("AU45").source == source.photo
    assert state.channel("AU12").source == source.value(0.8)
    assert state.channel("left AU01").source == source.driver(2)
    both = asked(mix=("AU12=2",), values=("mouth=0",))
    assert both.channel("AU12").source == source.driver(2)
    assert both.channel("AU25").source == source.value(0)
    yaw = state.channel("yaw").source.value
    assert (yaw - 0.5) * 1.4 == pytest.approx(np.radians(-12))


def test_fixed_values_are_sorted_by_what_they_name() -> None:
    for values in (("AU12=0.8", "mouth=0"), ("mouth=0", "AU12=0.8")):
        assert asked(values=values).channel("AU12").source == source.value(0.8)


def test_one_side_wins_over_both_and_keeps_its_source() -> None:
    state = asked(mix=("left brows=2",), gains=("left AU02=2", "AU02=1.5", "brows=1.3"), locks=("brows",))
    assert state.channel("left AU02") == Channel(source=source.driver(2), gain=2.0, locked=True)
    assert state.channel("left AU01") == Channel(source=source.driver(2), gain=1.3, locked=True)
    assert state.channel("right AU02") == Channel(gain=1.5, locked=True)
    smile = asked(values=("left AU12=0.8",), gains=("expression=1.2",)).channel("left AU12")
    assert smile == Channel(source=source.value(0.8), gain=1.2)


def test_a_preset_says_what_is_mirrored_or_leaves_the_mirror(own: Path) -> None:
    (own / "presets").mkdir()
    (own / "presets" / "twin.toml").write_text("format_version = 1\nmirrored = true\n")
    assert asked(preset="twin").mirrored == {1, 2}
    assert asked(preset="twin", mirror=("2=off",)).mirrored == {1}
    assert asked(("0", "you.jpg"), preset="calm").mirrored == {1}
    control = Control(ControlState.default(2))
    assert control.use_preset("twin").mirrored == {1, 2}
    control.mirror(False, 1)
    assert control.use_preset("calm").mirrored == {2}


def test_presets_come_first_then_gains_and_locks() -> None:
    state = asked(preset="calm", gains=("AU12=1.3", "mouth=0.9"), locks=("pose",))
    assert state.channel("AU12").gain == 1.3 and state.channel("AU25").gain == 0.9
    assert state.channel("AU01").gain == 0.6
    assert state.channel("yaw") == Channel(source=source.driver(1), gain=0.6, locked=True)


def test_without_a_driver_no_camera_is_opened() -> None:
    config = LiveConfig(sources=(Path("me.jpg"),), null=True, preset="avatar-idle", duration_s=1.0)
    assert [given.kind for given in config.given] == ["none"] and config.control.drivers == 0
    assert not config.live and not config.mirrored
    assert LiveConfig(sources=(Path("me.jpg"),), null=True).given[0].kind == "camera"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"only": ("moth",)}, "did you mean mouth"),
        ({"mix": ("mouth",)}, "--mix mouth: write GROUP=N"),
        ({"mix": ("mouth=3",)}, "takes driver 3, but there are 2"),
        ({"mix": ("mouth=0",)}, "counted from 1"),
        ({"mix": ("mouth=somebody",)}, "--mix mouth=somebody: 'somebody' is no source"),
        ({"mix": ("mouth=camera",)}, "for gaze alone"),
        ({"mix": ("mouth=1", "mouth=2")}, "mouth has two sources, 1 and 2"),
        ({"mix": ("AU12=2",), "values": ("AU12=.8",)}, "AU12 has two sources"),
        ({"mix": ("gaze=2",), "gaze": "camera"}, "gaze has two sources"),
        ({"values": ("AU12=nan",)}, "AU12=nan"),
        ({"values": ("AU12=2",)}, "out of range"),
        ({"values": ("pose=neutral",)}, "write --mix pose=neutral"),
        ({"values": ("AU12=9deg",)}, "no angle"),
        ({"gains": ("AU12=nan",)}, "--gain AU12=nan: a gain is a number"),
        ({"gains": ("AU12=1,3",)}, "--gain AU12=1,3: a gain is a number"),
        ({"locks": ("left pose",)}, "not told apart"),
        ({"preset": "clam"}, "no preset 'clam'"),
        ({"drivers": ("a.mp4", "a.mp4")}, "given twice"),
        ({"drivers": ("none", "a.mp4")}, "without any driver"),
        ({"drivers": ("me.png",)}, "nothing that drives has an end"),
    ],
)
def test_what_cannot_be_asked_is_one_line(settings: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        asked(**settings)
    assert "\n" not in str(error.value)


def test_changes_are_kept_with_their_times_and_a_wrong_one_changes_nothing() -> None:
    now = iter([1.0, 2.0, 3.0]).__next__
    control = Control(ControlState.default(), now)
    louder = control.change(lambda state: state.with_channels("mouth", gain=2.0))
    control.change(lambda state: state)
    with pytest.raises(ConfigError):
        control.change(lambda state: state.with_channels("moth", gain=2.0))
    assert control.state == louder
    assert [time_s for time_s, _ in control.history] == [1.0, 2.0]


def test_changes_of_many_threads_are_all_done() -> None:
    control = Control()

    def louder() -> None:
        for _ in range(50):
            control.change(lambda s: s.with_channels("AU12", gain=s.channel("AU12").gain + 1))

    threads = [threading.Thread(target=louder) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert control.state.channel("AU12").gain == 201.0


def test_what_was_asked_is_done_between_two_pictures_and_in_order() -> None:
    bench = Bench()
    done: list[str] = []
    bench.reenactment.control.ask(lambda reenactment: done.append(reenactment.renderer.size_px.__repr__()))
    bench.reenactment.control.ask(lambda reenactment: done.append("second"))
    assert done == []
    bench.controls.poll()
    assert done == ["(16, 16)", "second"]


def test_a_track_is_loaded_by_whoever_asks_and_a_broken_one_changes_nothing(own: Path) -> None:
    track = AttributeTrack(times_s=np.array([0.0]), values=smile(0.7)[None], present=np.ones(1, bool))
    write_csv(own / "smile.csv", track)
    control = Control()
    control.change(lambda s: s.with_channels("AU12", source=source.track(str(own / "smile.csv"))))
    (playing,) = control.tracks.values()
    said = playing(5.0)
    assert said is not None and said[11] == np.float32(0.7)
    before = control.state
    with pytest.raises(ConfigError, match=r"missing\.csv"):
        control.change(lambda s: s.with_channels("AU12", source=source.track("missing.csv")))
    assert control.state is before


def test_it_is_observed_only_while_somebody_listens() -> None:
    bench = Bench()
    control = bench.reenactment.control
    bench.step(smile(0.2), 1.0)
    assert control.observed.newest is None
    with control.observed as observed:
        bench.step(smile(0.4), 2.0)
        seen = observed.wait(None, 1.0)
    bench.step(smile(0.6), 3.0)
    assert seen is not None and seen is control.observed.newest
    assert (seen.time_s, round(float(seen.output[11]), 2)) == (2.0, 0.4)


def test_the_keys_for_gaze_preset_record_and_help(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench()
    press, recorded = bench.controls.press, []
    press("g")
    assert bench.state.channel("gaze_yaw").source == source.oscillator("camera")
    press("g")
    assert bench.state == ControlState.default()
    press("p")
    assert bench.reenactment.control.preset == "avatar-idle"
    press("m")
    press("p")
    assert bench.reenactment.control.preset == "calm" and bench.state.mirrored
    assert bench.state.channel("yaw").gain == 0.6
    for _ in range(5):
        press("p")
    assert bench.reenactment.control.preset == "" and bench.state.channel("yaw").gain == 1.0
    press("r")
    bench.controls.record = lambda: recorded.append(True)
    press("r")
    assert recorded == [True]
    press("h")
    assert "p: next preset" in caplog.text, "without a window the terminal shows them"


def test_a_preset_that_is_broken_is_passed_over(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    (own / "presets").mkdir()
    (own / "presets" / "calm.toml").write_text("format_version = 9")
    control = Control()
    assert [control.next_preset() for _ in range(2)] == ["avatar-idle", "eye-contact"]
    assert "newer version" in caplog.text


def test_help_is_drawn_in_windows_only() -> None:
    class Window(KeepingSink):
        lines: tuple[str, ...] = ()

        def show_help(self, lines: object) -> bool:
            self.lines = tuple(lines)  # type: ignore[arg-type]
            return True

    window, camera = Window("window"), KeepingSink("camera")
    bench = Bench(camera, window)
    bench.controls.press("h")
    assert any("next preset" in line for line in window.lines)


def test_a_recording_tells_what_made_it(own: Path) -> None:
    recorder = Recorder(own / "drive.csv")
    bench = Bench(recorder=recorder)
    bench.step(smile(0.2), 5.0)
    bench.step(smile(0.2), 5.1)
    bench.reenactment.control.change(lambda s: s.with_channels("mouth", gain=0.5))
    bench.step(smile(0.2), 5.2)
    recorder.close()
    lines = [json.loads(line) for line in (own / "drive.control.jsonl").read_text().splitlines()]
    assert [line["time_s"] for line in lines] == [0.0, 0.2]
    assert [ControlState.from_dict(line["state"]) for line in lines] == [
        ControlState.default(),
        bench.state,
    ]
