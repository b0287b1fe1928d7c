"""The command `doctor`: processes that hang or die cost a line each; table, JSON and exit code."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from icface.errors import DeviceError, EngineError
from realtime import cli
from realtime.config import LiveConfig
from realtime.doctor import FAILED, NOTE, OK, Finding, command
from realtime.doctor.running import caught, findings_of

_LINE = '{"check":"camera","state":"ok","found":"the first"}'


def found_by(program: str, bound_s: float = 30.0) -> list[Finding]:
    """What is found where the process of a check runs this program."""
    return list(findings_of("camera", bound_s, lambda name: [sys.executable, "-S", "-c", program]))


def test_a_check_that_hangs_is_told_of_and_what_it_found_before_counts() -> None:
    first, late = found_by(f"import time; print('{_LINE}', flush=True); time.sleep(600)", bound_s=1.0)
    assert first == Finding(check="camera", state=OK, found="the first")
    assert late.state == FAILED and "did not end within 1 s; a driver hangs" in late.found
    assert late.remedy.startswith("unplug the device")


def test_what_only_works_for_too_long_is_no_device_that_hangs() -> None:
    program = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    (late,) = findings_of("tracker", 0.3, lambda name: program)
    assert (
        "busy, or slow" in late.found
        and late.remedy == "end other programs; then: icface-live doctor tracker"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_driver_that_crashes_costs_one_line() -> None:
    program = f"import os, sys; print('{_LINE}', flush=True); print('bus error', file=sys.stderr, flush=True)"
    first, died = found_by(f"{program}; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert first.state == OK
    assert (died.state, died.found) == (FAILED, "its process died (code -9): bus error")
    assert died.remedy.startswith("update the driver")


def test_a_check_that_finds_nothing_has_failed() -> None:
    assert [finding.state for finding in found_by("pass")] == [FAILED]


def test_a_line_that_was_cut_off_is_no_finding() -> None:
    assert [finding.state for finding in found_by("print('{\"check\":')")] == [FAILED]


def test_a_program_that_is_not_there_is_a_finding() -> None:
    (failed,) = findings_of("camera", 1.0, lambda name: ["/nowhere/python"])
    assert failed.state == FAILED and "cannot be started" in failed.found


def test_an_error_is_split_into_what_is_wrong_and_what_to_do() -> None:
    def find() -> Iterator[Finding]:
        raise DeviceError("camera 0 is busy; close the other program; then try again")
        yield

    (failed,) = caught("camera", find)
    assert failed.found == "camera 0 is busy"
    assert failed.remedy == "close the other program; then try again"


def test_a_defect_and_a_missing_library_are_findings() -> None:
    def broken(words: str) -> Iterator[Finding]:
        raise ImportError(words)
        yield

    (defect,) = caught("screen", lambda: broken("no name"))
    assert defect.found == "unexpected ImportError: no name" and defect.remedy
    (library,) = caught("screen", lambda: broken("libGL.so.1: cannot open shared object file"))
    assert "libgl1" in library.remedy


FINDINGS = [
    Finding(check="versions", state=OK, found="all there"),
    Finding(check="screen", state=NOTE, found="no screen", remedy="use a file"),
    Finding(check="camera", state=FAILED, found="none", remedy="plug one in"),
]


@pytest.mark.parametrize(("findings", "code"), [(FINDINGS, 1), (FINDINGS[:2], 0)])
def test_the_exit_code_is_1_where_a_line_failed(
    findings: list[Finding], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "examined", lambda names: iter(findings))
    assert cli.main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok      versions        all there"
    assert lines[2] == f"{' ' * 24}-> use a file"
    assert lines[-1] == (
        "1 of 3 lines failed; what to do stands after each arrow" if code else "nothing failed; 1 note"
    )
    assert cli.main(["doctor", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "icface-live-doctor/1" and document["ok"] == (code == 0)
    assert document["findings"][1] == {
        "check": "screen",
        "state": "note",
        "found": "no screen",
        "remedy": "use a file",
    }


def test_only_the_named_checks_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    """The real command, with a real process."""
    assert cli.main(["doctor", "versions", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["check"] == "versions" and "numpy" in finding["found"]


def test_a_check_that_is_not_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "teeth"]) == 2
    assert "there is no check 'teeth'; there are: versions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("drivers", "error", "offered"),
    [
        (("0",), DeviceError("camera 0 is busy"), True),
        (("talk.mp4",), DeviceError("no space left for out.mp4"), False),
        (("talk.mp4",), EngineError("no engine works here"), True),
    ],
)
def test_the_doctor_is_offered_where_it_knows_more(
    drivers: tuple[str, ...],
    error: Exception,
    offered: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("talk.mp4").touch()

    def fail(config: LiveConfig) -> None:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    flags = ["--source", "me.jpg", "--null", *(word for name in drivers for word in ("--driver", name))]
    assert cli.main(flags) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert (last == "icface-live doctor says more") == offered


def test_every_check_of_the_table_is_there(repository: Path) -> None:
    from importlib import import_module

    from realtime.doctor.checks import CHECKS

    for check in CHECKS.values():
        assert callable(getattr(import_module(f"realtime.doctor.{check.module}"), check.function))
        assert 0 < check.bound_s <= 300
