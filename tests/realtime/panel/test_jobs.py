"""What becomes of a job when its process has ended."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from icface.errors import DeviceError
from icface.files import _beside
from realtime.panel.jobs import Job, Jobs, same_picture
from tests.realtime.panel.conftest import Running


def ended(folder: Path, finish: Callable[[Path], None] | None, code: int = 0, said: bytes = b"") -> Job:
    """A job whose process has made a video, said that and ended with that code."""
    unfinished = folder / ".talk.part.mp4"
    unfinished.write_bytes(b"video")
    process: Any = SimpleNamespace(poll=lambda: code, returncode=code)
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Job
    output.write(said)
    scratch = tempfile.TemporaryDirectory()
    return Job(folder / "talk.mp4", unfinished, process, output, scratch, finish)


def test_a_video_is_signed_before_it_has_its_name(tmp_path: Path) -> None:
    def sign(made: Path) -> None:
        assert not (tmp_path / "talk.mp4").exists()
        made.write_bytes(made.read_bytes() + b" signed")

    job = ended(tmp_path, sign)
    job.look()
    assert job.state == "done" and (tmp_path / "talk.mp4").read_bytes() == b"video signed"


@pytest.mark.parametrize("code", [0, 1])
def test_a_video_that_cannot_be_signed_or_was_not_made_leaves_nothing(tmp_path: Path, code: int) -> None:
    sign = mock.Mock(side_effect=DeviceError("the certificate has ended"))
    job = ended(tmp_path, sign, code, b"info\nerror: the disk is full\n")
    job.look()
    assert job.state == "failed"
    assert job.error == ("the disk is full" if code else "the certificate has ended")
    assert sign.call_count == 1 - code and not list(tmp_path.iterdir())


def test_a_job_is_asked_to_end_and_leaves_nothing(tmp_path: Path) -> None:
    jobs, job = Jobs(), ended(tmp_path, None)
    job.process = process = mock.Mock()
    process.wait.side_effect = [subprocess.TimeoutExpired("icface-live", 1), 0]
    jobs.all["talk.mp4"] = job
    (tmp_path / "other.part").touch()
    _beside(job.unfinished, "part").touch()
    jobs.close()
    assert [name for name, *_ in process.method_calls] == ["terminate", "wait", "kill", "wait"]
    assert [path.name for path in tmp_path.iterdir()] == ["other.part"]


def test_what_a_job_wrote_beside_its_file_goes(tmp_path: Path) -> None:
    job = ended(tmp_path, None)
    (tmp_path / ".talk.part.control.jsonl").touch()
    job.look()
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


def test_a_rendered_video_shows_the_face_of_the_run_and_replaces_none(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, start = running.desk, mock.Mock()
    assert "--face" not in same_picture(desk.config, None)
    monkeypatch.setattr(desk, "face", 2)
    monkeypatch.setattr(desk, "save_track", lambda name: name)
    monkeypatch.setattr(desk.jobs, "start", start)
    desk.tracks.folder.mkdir(exist_ok=True)
    (desk.tracks.folder / "shown rendered.mp4").touch()
    desk.render("shown")
    path, _, flags = start.call_args.args
    assert path == desk.tracks.folder / "shown rendered (2).mp4"
    assert flags[flags.index("--face") + 1] == "2"


def test_the_panel_signs_what_its_jobs_render(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, credentials = running.desk, mock.Mock()
    provenance = replace(desk.recordings.provenance, credentials=credentials)
    monkeypatch.setattr(desk.recordings, "provenance", provenance)
    monkeypatch.setattr(desk, "save_track", lambda name: name)
    start = mock.Mock()
    monkeypatch.setattr(desk.jobs, "start", start)
    desk.render("talk")
    made = Path(".talk rendered.part.mp4")
    start.call_args.kwargs["finish"](made)
    assert credentials.sign.call_args.args[:2] == (made, ".mp4")
    assert not any("c2pa" in str(flag) for flag in start.call_args.args[2]), "the job has no key"
