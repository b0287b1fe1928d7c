"""Flags to settings, and every mistake to one line and an exit code."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import AttributeTrack, neutral
from icface.errors import ConfigError
from icface.tables import write_csv
from realtime import cli
from realtime.cli import main
from realtime.config import LiveConfig
from realtime.flags import config_from, parser
from realtime.process import signals


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a photo, a video and a track by name only."""
    monkeypatch.chdir(tmp_path)
    for name in ("me.jpg", "talk.mp4"):
        Path(name).write_bytes(b"not really")
    Path("link.mp4").symlink_to("talk.mp4")
    Path("link.mkv").symlink_to("drive.csv")
    Path("folder.mp4").mkdir()
    track = AttributeTrack(
        times_s=np.array([0.0, 0.04]), values=np.stack([neutral()] * 2), present=np.ones(2, bool)
    )
    write_csv(Path("drive.csv"), track)
    return tmp_path


def config(*flags: str) -> LiveConfig:
    return config_from(parser().parse_args(["--source", "me.jpg", *flags]))


def test_the_defaults_are_those_of_the_settings(here: Path) -> None:
    assert config() == LiveConfig(sources=(Path("me.jpg"),))


def test_a_call_is_animated_at_the_picture_s_own_size(here: Path) -> None:
    got = config("--framing", "call", "--call-size", "1920x1080")
    assert got.call_size_px == (1920, 1080) and got.crop_px is None
    assert config().call_size_px == (1280, 720) and config().crop_px == 512


def test_a_folder_takes_numbered_pictures(here: Path) -> None:
    Path("pictures").mkdir()
    assert config("--camera", "talk.mp4", "--output", "pictures").outputs == (Path("pictures"),)


def test_what_stands_without_a_flag_is_shown_or_drives(here: Path) -> None:
    got = config_from(
        parser().parse_args(["you.jpg", "--window", "me.png", "talk.mp4", "drive.csv", "old.mpg"])
    )
    assert got.sources == (Path("you.jpg"), Path("me.png")) and got.drivers == (
        "talk.mp4",
        "drive.csv",
        "old.mpg",
    )


@pytest.mark.parametrize("name", ["o.png", "o.jpg", "o.webp"])
def test_an_output_that_is_a_picture_needs_no_driver(here: Path, name: str) -> None:
    got = config("--output", name)
    assert got.still and not got.live and not got.to_virtual_camera
    assert [given.kind for given in got.given] == ["none"]


def test_every_flag_reaches_its_setting(here: Path) -> None:
    got = config(
        "--source", "you.jpg", "--face", "2", "--size", "native", "--framing", "photo", "--mark", "off",
        "--background", "blur", "--follow",
        "--camera", "talk.mp4", "--camera-size", "1280x720", "--camera-fps", "60", "--camera-retry-s", "3",
        "--no-mirror", "--neutral-after", "1.5", "--pace", "--loop", "--gaze", "camera", "--idle",
        "--virtual-camera", "/dev/video9", "--window", "--output", "a.mp4", "--output", "b.mkv", "--null",
        "--overwrite",
        "--record-attributes", "r.csv", "--stats", "s.json", "--duration", "9", "--frames", "7",
        "--model", "m.icface", "--engine", "onnxruntime", "--no-build",
    )  # fmt: skip
    assert got == LiveConfig(
        sources=(Path("me.jpg"), Path("you.jpg")), face=2, size_px=None, framing="photo",
        background="blur", follow=True, mark=False,
        drivers=("talk.mp4",), camera_size_px=(1280, 720), camera_fps=60.0, camera_retry_s=3.0,
        mirror=("off",), neutral_after_s=1.5, pace=True, loop=True, gaze="camera", idle=True,
        virtual_camera="/dev/video9", window=True,
        outputs=(Path("a.mp4"), Path("b.mkv")), null=True, overwrite=True,
        record_attributes=Path("r.csv"), stats=Path("s.json"), duration_s=9.0, frames=7,
        model=Path("m.icface"), engine="onnxruntime", build=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "mirrored"),
    [
        (["--driver", "talk.mp4", "--driver", "0"], {2}),
        (["--driver", "talk.mp4", "--driver", "0", "--mirror", "1"], {1, 2}),
        (["--driver", "talk.mp4", "--driver", "0", "--no-mirror", "2"], set()),
        (["--driver", "talk.mp4", "--driver", "0", "--mirror", "--no-mirror", "1"], {2}),
        (["--driver", "talk.mp4", "--mirror", "you.jpg"], {1}),
    ],
)
def test_each_driver_has_a_mirror_of_its_own(here: Path, flags: list[str], mirrored: set[int]) -> None:
    got = config("--window", *flags)
    assert got.mirrored == got.control.mirrored == mirrored
    assert len(got.sources) == 1 + ("you.jpg" in flags)


@pytest.mark.parametrize(
    ("flags", "virtual", "live", "mirrored"),
    [
        ("", True, True, True),
        ("--window", False, True, True),
        ("--camera talk.mp4", False, True, False),
        ("--camera talk.mp4 --output o.mp4", False, False, False),
        ("--camera talk.mp4 --null", False, False, False),
        ("--camera talk.mp4 --output o.mp4 --virtual-camera", True, True, False),
        ("--camera talk.mp4 --null --pace", False, True, False),
        ("--camera talk.mp4 --window --no-pace", False, False, False),
        ("--camera talk.mp4 --null --mirror", False, False, True),
        ("--null --no-mirror", False, True, False),
        ("--output o.mp4", False, True, True),
        ("--attributes drive.csv --output o.mp4", False, False, False),
        ("--attributes drive.csv", False, True, False),
        ("--driver none", True, True, False),
        ("--driver me.jpg", True, True, False),
        ("--preset avatar-idle", True, True, False),
    ],
)
def test_what_the_flags_mean_together(
    here: Path, flags: str, virtual: bool, live: bool, mirrored: bool
) -> None:
    got = config(*flags.split())
    assert (got.to_virtual_camera, got.live, bool(got.mirrored)) == (virtual, live, mirrored)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", "no photo"),
        ("--source me.jpg --driver 0 --mirror 3", "--mirror 3: there is only one driver"),
        ("--source me.jpg --size 300", "--size"),
        ("--source me.jpg --framing round", "--framing"),
        ("--source me.jpg --gaze up", "--gaze"),
        ("--source me.jpg --background nowhere.jpg", "neither a colour nor a file"),
        ("--source me.jpg --background #12", "#rrggbb"),
        ("--source me.jpg --background talk.mp4 --output talk.mp4 --camera link.mp4", "overwritten"),
        ("--source me.jpg --framing call --call-size 640x480", "--call-size"),
        ("--source me.jpg --call-size 1920x1080", "for --framing call"),
        ("--source me.jpg --framing call --size 256", "for the other framings"),
        ("--source me.jpg --camera talk.mp4 --background transparent --output o.mp4", "no transparency"),
        ("--source me.jpg --camera talk.mp4 --output o.png", "out-%05d.png"),
        ("--source me.jpg --camera talk.mp4 --output clip", "for a video give clip.mp4"),
        ("--source me.jpg --face 0", "counted from 1"),
        ("--source me.jpg --camera-size 640", "1280x720"),
        ("--source me.jpg --camera-size 3x4", "16 to 8192"),
        ("--source me.jpg --camera-fps 0", "1 to 240"),
        ("--source me.jpg --camera-fps nan", "1 to 240"),
        ("--source me.jpg --camera-retry-s -1", "0 to 3600"),
        ("--source me.jpg --duration 0", "more than 0"),
        ("--source me.jpg --frames 0", "1 or more"),
        ("--source me.jpg --neutral-after -2", "0 seconds or more"),
        ("--source me.jpg --pace", "a camera has its own rate"),
        ("--source me.jpg --loop", "a camera does not end"),
        ("--source me.jpg --camera talk.mp4 --panel --no-pace", "leave out --no-pace"),
        ("--source me.jpg --camera 2 --virtual-camera /dev/video2", "cannot be both"),
        ("--source me.jpg --camera /dev/video2 --virtual-camera /dev/video2", "cannot be both"),
        ("--source me.jpg --camera talk.mp4 --null --loop", "--pace"),
        ("--source me.jpg --attributes drive.csv --neutral-after 2 --null", "camera's or a video's"),
        ("--source me.jpg --camera talk.mp4 --output talk.mp4", "overwritten"),
        ("--source me.jpg --camera talk.mp4 --output link.mp4", "overwritten"),
        ("--source me.jpg --camera link.mp4 --output talk.mp4", "overwritten"),
        ("--source me.jpg --source you.mp4 --camera talk.mp4 --output you.mp4", "overwritten"),
        ("--source me.jpg --camera talk.mp4 --output folder.mp4", "is a folder"),
        ("--source me.jpg --attributes drive.csv --null --record-attributes drive.csv", "overwritten"),
        ("--source me.jpg --output o.mp4 --output ./o.mp4", "overwritten"),
        ("--source me.jpg --output missing/o.mp4", "make it first"),
        ("--source me.jpg --camera talk.mp4 --output link.mkv", "is there already; give --overwrite"),
        ("--source me.jpg --camera talk.mp4 --null --record-attributes drive.csv", "is there already"),
        ("--source me.jpg --camera talk.mp4 --null --stats drive.csv", "is there already"),
        ("--source me.jpg --stats missing/s.json", "make it first"),
        ("--source me.jpg --stats .", "is a folder"),
        ("--source me.jpg --output o.txt --camera talk.mp4", "must end in"),
        ("--source me.jpg --null --attributes missing.csv", "cannot read attributes"),
        ("--source me.jpg --null --camera http://example.org/cam", "network"),
        ("--source me.jpg --null --camera=", "a driver is empty"),
        ("--sauce me.jpg", "did you mean --source?"),
        ("me.jpg --backgroud blur", "did you mean --background?"),
        ("me.jpg --webcam 0", "did you mean --camera?"),
        ("me.jpg --driver drive.csv --output o.jpg", "out-%05d.png"),
        ("me.jpg you.jpg --output o.png", "give one --source"),
        ("me.jpg --output o.png --output p.mp4", "without other outputs"),
        ("me.jpg --output o.png --window", "without other outputs"),
        ("me.jpg --output o.png --stats s.json", "is for a run"),
        ("me.jpg --output o.jpg --background transparent", "cannot be transparent"),
        ("me.jpg --output me.jpg", "overwritten"),
        ("me.jpg --sweep AU12", "--output sheet.png"),
        ("https://example.org/me.jpg", "network addresses are not read; save the photo"),
        ("talk.mp4", "no photo: talk.mp4 drives: name one"),
        ("me.jpg --list-faces me.jpg", "is there already; give --overwrite"),
        ("me.jpg --list-faces me.jpg --overwrite", "the name of a PNG file"),
        ("me.jpg --views -30:30:7 --output o.mp4", "--output sheet.png"),
        ("me.jpg --sweep AU2 --output o.png", "AU2"),
        ("me.jpg --views 30:-30 --output o.png", "runs backwards"),
        ("--source me.jpg --frames many", "--frames"),
        ("--source me.jpg --mark maybe", "--mark"),
        ("--source 1 --source 2 --source 3 --source 4 --source 5 --source 6 --source 7 --source 8 --source 9"
         " --source 10", "9 or fewer"),
    ],
)  # fmt: skip
def test_wrong_flags_are_one_line_and_exit_code_2(
    here: Path, flags: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags.split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err
    assert err.count("\n") == 1, err


@pytest.mark.parametrize(("answer", "code"), [("y\n", 1), ("\n", 2), ("", 2)])
def test_a_terminal_is_asked_before_a_file_is_written_over(
    here: Path, answer: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown)
    # With a yes it goes on to the photo, which is none.
    assert main(["--source", "me.jpg", "--camera", "talk.mp4", "--output", "drive.csv.mp4"]) == 1
    Path("old.mp4").write_bytes(b"earlier")
    assert main(["--source", "me.jpg", "--camera", "talk.mp4", "--output", "old.mp4"]) == code
    assert shown.getvalue().count("old.mp4 is there already; write over? [y/N]") == 1
    assert Path("old.mp4").read_bytes() == b"earlier", "until the new one is complete"


def test_a_tilde_is_the_home_folder_in_every_path(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    got = config("--source=~/you.jpg", "--camera=~/talk.mp4", "--output=~/o.mp4", "--background=~/me.jpg",
                 "--record-attributes=~/r.csv", "--stats=~/s.json", "--model=~/m.icface")  # fmt: skip
    paths = (*got.sources[1:], got.driver_video, *got.written, got.model, got.shown_behind.path)
    assert all(path is not None and path.is_absolute() and path.parent == here for path in paths), paths
    assert main(["me.jpg", "--list-faces=~/me.jpg"]) == 2
    assert f"{here / 'me.jpg'} is there already" in capsys.readouterr().err


def test_a_closed_standard_output_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        cli._tell("nobody reads this")
        cli._tell("nor this")


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are closed in other ways there")
def test_closed_streams_do_not_give_their_numbers_to_files() -> None:
    script = (
        "import os, sys\n"
        "from realtime.cli import main\n"
        "main(['--version'])\n"
        "first = os.open(os.devnull, os.O_RDONLY)\n"
        "print('to nowhere', file=sys.stderr)\n"
        "sys.exit(first)"
    )
    command = f'exec {sys.executable} -c "$0" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, script], timeout=60).returncode > 2


def test_a_missing_photo_is_one_line_and_exit_code_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--source", "missing.jpg", "--camera", "talk.mp4", "--null"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: missing.jpg is not there") and err.count("\n") == 1


def test_a_traceback_comes_with_vv_only(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--frames", "0", "--source", "me.jpg"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--frames", "0", "--source", "me.jpg", "-vv"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_is_one_line_too(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: LiveConfig) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(cli, "_run", broken)
    assert main(["--source", "me.jpg"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: unexpected ZeroDivisionError: a defect;") and err.count("\n") == 1


def test_native_libraries_do_not_write_between_our_lines() -> None:
    """What they write to descriptor 2 is gone without -vv, and there with it; our own lines always come."""
    script = (
        "import os, sys\n"
        "from realtime import cli\n"
        "def noisy(config):\n"
        "    os.write(2, b'native noise\\n')\n"
        "    raise cli.ICFaceError('ours')\n"
        "cli._run = noisy\n"
        "code = cli.main(['--source', 'me.jpg', *sys.argv[1:]])\n"
        "os.write(2, b'after\\n')\n"
        "sys.exit(code)"
    )

    def stderr(*flags: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", script, *flags], capture_output=True, text=True, timeout=60
        ).stderr

    assert stderr() == "error: ours\nafter\n"
    assert "native noise" in stderr("-vv")


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("icface-live ")
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for flag in (
        "--source",
        "--driver",
        "--mix",
        "--virtual-camera",
        "--record-attributes",
        "--list-cameras",
    ):
        assert flag in out
    assert "freeze" in out


@pytest.mark.parametrize("flags", [["--source", "me.jpg", "--null"], ["--list-cameras"]])
def test_without_the_libraries_of_opencv_the_packages_are_named(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    # The fake OpenCV is found first, whatever imports it.
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from realtime.cli import main; sys.exit(main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *flags], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: a system library is missing (libGL.so.1: cannot open shared object file")
    assert "sudo apt install libgl1 libglib2.0-0" in line


def test_opencv_is_loaded_before_pyav(tmp_path: Path) -> None:
    """Else OpenCV's windows hang when they open."""
    script = (
        "import sys; from realtime.cli import main\n"
        "assert main(['--source', 'missing.jpg', '--output', sys.argv[1]]) == 1\n"
        "loaded = list(sys.modules)\n"
        "assert loaded.index('cv2') < loaded.index('av')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "out.mp4")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from realtime.cli import main; main(['--help'])\n"
        "heavy = {'numpy', 'cv2', 'av', 'mediapipe', 'numba', 'openvino', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_the_first_signal_asks_and_the_second_does_not() -> None:
    stop = threading.Event()
    before = signal.getsignal(signal.SIGTERM)
    with signals(stop):
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_terminal_that_closes_asks_however_often_unless_nohup_was_used() -> None:
    stop = threading.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with signals(stop):
            for _ in range(3):
                signal.raise_signal(signal.SIGHUP)
            assert stop.is_set()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with signals(stop):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_after_the_run_has_ended_by_itself_still_only_asks() -> None:
    stop = threading.Event()
    with signals(stop):
        stop.set()
        signal.raise_signal(signal.SIGINT)


def test_settings_are_checked_wherever_they_come_from() -> None:
    with pytest.raises(ConfigError, match="--framing"):
        LiveConfig(sources=(Path("me.jpg"),), framing="oval")
    with pytest.raises(ConfigError, match="--size"):
        LiveConfig(sources=(Path("me.jpg"),), size_px=300)
