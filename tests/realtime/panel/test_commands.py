"""What a page asks is done to the run's state, between two pictures, or refused in a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from websockets.exceptions import ConnectionClosedError

from icface.control.state import ControlState
from icface.errors import DeviceError, ICFaceError
from realtime.panel.tracks import write_track
from tests.realtime.fakes import smile
from tests.realtime.panel.conftest import Running
from tests.realtime.panel.test_guard import open_stream
from tests.realtime.panel.test_tracks import SMILE, track


@pytest.fixture(autouse=True)
def as_it_began(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("icface.control.presets.folder", lambda: tmp_path / "presets")
    yield
    running.desk.leave()
    running.control.change(lambda _: ControlState.default(2))


def ask(running: Running, does: str, **what: Any) -> Any:
    return running.desk.perform({"does": does, **what})


def picture(running: Running) -> None:
    """What the loop does between two pictures."""
    running.control.do_asked(running.bench.reenactment)


def test_a_change_of_source_gain_and_lock(running: Running) -> None:
    ask(running, "change", names=["mouth"], changes={"source": "driver 2", "gain": 1.5})
    ask(running, "change", names=["AU26", "yaw"], changes={"source": "0.25", "locked": True})
    state = running.control.state
    assert str(state.channel("AU12").source) == "driver 2" and state.channel("AU12").gain == 1.5
    assert str(state.channel("AU26").source) == "0.25" and state.channel("AU26").gain == 1.5
    assert state.channel("yaw").locked and not state.channel("pitch").locked
    ask(running, "reset")
    assert running.control.state == running.control.start


def test_a_preset_of_a_newer_version_is_refused(running: Running, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "later.toml").write_text("format_version = 99\n")
    before = running.control.state
    with pytest.raises(ICFaceError, match="format_version 99 is of a newer version"):
        ask(running, "load_preset", name="later")
    assert running.control.state is before


@pytest.mark.parametrize("text", ['{"id": 1, "command": NaN}', '{"seen": 1e999}', "nonsense", "[]"])
def test_a_message_that_is_none_ends_the_page_with_a_reason(running: Running, text: str) -> None:
    with open_stream(running) as socket:
        socket.send(text)
        with pytest.raises(ConnectionClosedError) as closed:
            while True:
                socket.recv(10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1003
    assert closed.value.rcvd.reason.startswith("not understood: ")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"does": "change", "names": ["AU99"], "changes": {}}, "AU99"),
        ({"does": "change", "names": ["AU12"], "changes": {"source": "driver 3"}}, "driver 3"),
        ({"does": "change", "names": ["AU12"], "changes": {"gain": "much"}}, "not understood"),
        ({"does": "change", "names": ["AU12"], "changes": {"gain": float("nan")}}, "not a finite number"),
        ({"does": "change", "names": ["AU12"], "changes": {"high": float("inf")}}, "not a finite number"),
        ({"does": "change", "names": ["AU12"], "changes": {"offset": None}}, "not understood"),
        ({"does": "change", "names": [], "changes": {}}, "not understood"),
        ({"does": "change", "names": ["AU12"], "changes": {"colour": 1}}, "colour"),
        (
            {"does": "change", "names": ["AU12"], "changes": {"source": "track ../../x"}},
            "no name for a track",
        ),
        ({"does": "change", "names": ["AU12"], "changes": {"source": "track gone"}}, "no track 'gone'"),
        ({"does": "delete everything"}, "not understood"),
        ({"does": "show", "number": 99}, "photo 100 cannot be shown"),
        ({"does": "show", "number": -1}, "photo 0 cannot be shown"),
        ({"does": "neutral"}, "no tracker runs"),
        ({"does": "stop_recording"}, "nothing is being recorded"),
        ({"does": "load_preset", "name": "gone"}, "gone"),
        ({"does": "save_preset", "name": "../x"}, "no name for a preset"),
        ({"does": "seek", "name": "gone", "position_s": 1.0}, "no track 'gone'"),
        ("no command", "not understood"),
    ],
)
def test_what_cannot_be_changes_nothing_and_is_said_in_a_line(
    running: Running, command: Any, reason: str
) -> None:
    before = running.control.state
    with pytest.raises(ICFaceError, match=reason) as told:
        running.desk.perform(command)
    assert "\n" not in str(told.value)
    assert running.control.state is before


def test_the_picture_is_frozen_between_two_pictures(running: Running) -> None:
    ask(running, "freeze", on=True)
    assert not running.bench.reenactment.frozen, "the loop does it"
    picture(running)
    assert running.bench.reenactment.frozen
    ask(running, "freeze", on=False)
    picture(running)


def test_a_preset_is_saved_and_loaded(running: Running) -> None:
    ask(running, "change", names=["AU04"], changes={"source": "0.7"})
    assert ask(running, "save_preset", name="Frown") == "Frown"
    ask(running, "reset")
    ask(running, "load_preset", name="Frown")
    assert str(running.control.state.channel("AU04").source) == "0.7"


def test_a_track_drives_everything_and_gives_it_back(running: Running) -> None:
    running.desk.tracks.folder.mkdir(exist_ok=True)
    write_track(running.desk.tracks.folder / "talk.csv", track())
    ask(running, "change", names=["AU12"], changes={"gain": 2.0})
    before = running.control.state
    ask(running, "play_track", name="talk", playing=False)
    assert {str(channel.source) for channel in running.control.state.channels} == {"track talk"}
    ask(running, "seek", name="talk", position_s=0.2)
    ask(running, "edit_track", name="talk", attribute="AU12", start=2, values=[0.9])
    shown = running.control.tracks["talk"](5.0)
    assert shown is not None and shown[11] == pytest.approx(0.9), "the edit is seen where it rests"
    ask(running, "leave_track")
    assert running.control.state == before


def test_back_to_live_has_the_drivers_that_are_there_now(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.desk.tracks.folder.mkdir(exist_ok=True)
    write_track(running.desk.tracks.folder / "talk.csv", track())
    ask(running, "change", names=["AU12"], changes={"source": "driver 2", "gain": 2.0})
    ask(running, "play_track", name="talk", playing=True)
    here: Any = SimpleNamespace()
    monkeypatch.setattr(running.desk.crew, "members", (here, None, here))
    running.control.change(lambda state: replace(state, drivers=3, mirrored=frozenset({3})))
    ask(running, "leave_track")
    state = running.control.state
    assert state.drivers == 3 and state.mirrored == {3}
    assert (str(state.channel("AU12").source), state.channel("AU12").gain) == ("photo", 2.0)
    assert str(state.channel("yaw").source) == "driver 1"


def test_a_track_that_rested_moves_as_a_source(running: Running) -> None:
    running.desk.tracks.folder.mkdir(exist_ok=True)
    for name in ("talk", "song"):
        write_track(running.desk.tracks.folder / f"{name}.csv", track())
        ask(running, "play_track", name=name, playing=False)
    ask(running, "leave_track")
    ask(running, "change", names=["AU12"], changes={"source": "track talk"})
    ask(running, "change", names=["AU26"], changes={"source": "track song"})
    for name in ("talk", "song"):
        shown = [running.control.tracks[name](time_s) for time_s in (1.0, 1.1)]
        assert [values[SMILE] for values in shown if values is not None] == pytest.approx([0.0, 0.1])


def test_a_file_that_is_dropped_takes_the_place_of_no_track(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, start = running.desk, mock.Mock()
    monkeypatch.setattr(desk.jobs, "start", start)
    desk.tracks.folder.mkdir(exist_ok=True)
    write_track(desk.tracks.folder / "drop.csv", track(5))
    write_track(tmp_path / "drop.csv", track(3))
    assert desk.take_track(tmp_path / "drop.csv") == "drop (2) is a track now"
    assert [len(desk.tracks.get(name)) for name in ("drop", "drop (2)")] == [5, 3]
    desk.take_track(tmp_path / "drop.mp4")
    assert start.call_args.args[0].name == "drop (3).csv"
    monkeypatch.setitem(desk.jobs.all, "drop (3).csv", SimpleNamespace(state="running"))
    assert desk.take_track(tmp_path / "drop.csv") == "drop (4) is a track now", "a video becomes the third"


def test_a_preset_leaves_the_mirror_unless_it_says_so(running: Running, tmp_path: Path) -> None:
    ask(running, "mirror", on=True)
    ask(running, "load_preset", name="calm")
    assert running.control.state.mirrored == {1, 2}
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "plain.toml").write_text("format_version = 1\nmirrored = false\n")
    ask(running, "load_preset", name="plain")
    assert not running.control.state.mirrored


def test_a_recording_is_a_video_and_a_track(running: Running) -> None:
    ask(running, "record")
    with pytest.raises(ICFaceError, match="recorded already"):
        ask(running, "record")
    picture(running)
    for i in range(3):
        running.bench.step(smile(0.5) if i == 1 else None, 100.0 + i / 25)
    recording = running.desk.recordings.end()
    picture(running)
    assert recording.finished.wait(10)
    assert recording.path.stat().st_size > 0
    assert len(running.desk.tracks.get(recording.path.stem)) == 3
    rows = recording.path.with_suffix(".csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows] == ["success", "0", "1", "0"], "whether a face was seen"
    assert recording.path.with_suffix(".control.jsonl").read_text().count("\n") == 1, (
        "the state and its changes"
    )
    assert recording.path.stem in running.desk.tracks.names()


def test_a_recording_that_ends_before_a_picture_is_none(running: Running) -> None:
    recording = running.desk.recordings.begin()
    running.desk.recordings.end()
    picture(running)
    assert recording.finished.wait(10)
    assert "nothing was recorded" in str(recording.error)
    assert not [path for path in recording.path.parent.iterdir() if path.stem.startswith(recording.path.stem)]


def test_a_recording_that_the_run_ends_says_where_it_is(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recording = running.desk.recordings.begin()
    picture(running)
    running.bench.step(None, 100.0)
    recording.close()  # as the loop does it
    assert f"recorded: {recording.path}" in caplog.text
    running.desk.recordings.end()
    picture(running)
    assert caplog.text.count(f"recorded: {recording.path}") == 1


def test_a_recording_that_is_lost_no_longer_runs_and_is_never_told_as_made(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = running.desk.recordings
    recording = recordings.begin()
    picture(running)
    running.bench.step(None, 100.0)
    assert recording._video is not None

    def full(*_: object) -> None:
        raise DeviceError("no space left")

    monkeypatch.setattr(recording._video, "send", full)
    running.bench.step(None, 100.04)
    assert "no space left; going on with" in caplog.text
    assert recordings.current is None
    with pytest.raises(ICFaceError, match="nothing is being recorded"):
        ask(running, "stop_recording")
    with caplog.at_level("INFO", logger="realtime"):
        recording.complete()
    assert "recorded: " not in caplog.text


def test_a_recording_whose_files_cannot_be_finished_is_told_to_who_ends_it(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = running.desk.recordings.begin()
    picture(running)
    running.bench.step(None, 100.0)
    assert recording._video is not None and recording._table is not None
    close, table = recording._video.close, recording._table

    def full() -> None:
        close()
        raise DeviceError("no space left")

    monkeypatch.setattr(recording._video, "close", full)
    monkeypatch.setattr(running.control, "ask", lambda action: action(running.bench.reenactment))
    with caplog.at_level("INFO", logger="realtime"), pytest.raises(DeviceError, match="no space left"):
        ask(running, "stop_recording")
    assert table._file.closed and "recorded: " not in caplog.text


def test_a_recording_that_does_not_begin_leaves_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DeviceError("no encoder")

    monkeypatch.setattr("realtime.sinks.video_file.VideoFileSink.open", refuse)
    recordings = running.desk.recordings
    before = set(recordings.folder.iterdir())
    with pytest.raises(DeviceError, match="no encoder"):
        recordings.begin()
    assert recordings.current is None and set(recordings.folder.iterdir()) == before


def test_the_page_is_answered_and_told_of_the_change(running: Running) -> None:
    with open_stream(running) as socket:
        command = {"does": "change", "names": ["AU45"], "changes": {"source": "photo"}}
        socket.send(json.dumps({"id": 7, "command": command}))
        socket.send(json.dumps({"id": 8, "command": {"does": "nothing"}}))
        answers: dict[int, Any] = {}
        source = ""
        while len(answers) < 2 or source != "photo":
            message = json.loads(socket.recv(10))
            if message["is"] == "answer":
                answers[message["id"]] = message
            elif message["is"] == "state":
                source = message["channels"]["AU45"]["source"]
    assert "error" not in answers[7] and "not understood" in answers[8]["error"]
