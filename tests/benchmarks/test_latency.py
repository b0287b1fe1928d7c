"""Glass to glass: the choice of poses, the figures, and one quick run without devices (see also tests/e2e/guest)."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.latency import (
    CAMERA_WIDTH_PX,
    IN_PROCESS,
    MEASURES,
    Run,
    figures_of,
    fit_camera,
    main,
    read_poses,
    share,
    summary,
    widest_pair,
)
from benchmarks.steps import Recorder
from icface.errors import ConfigError, ICFaceError


def poses(*yaws_rad: float) -> np.ndarray:
    """Pitch and roll are nought."""
    return np.array([(0.0, yaw, 0.0) for yaw in yaws_rad])


def test_poses_are_as_far_apart_as_the_tracker_lets_pass() -> None:
    assert widest_pair(poses(0.0, 0.19, 0.05, -0.08, -0.1)) == (1, 3)  # .29 is too far: .28 is the most
    assert widest_pair(poses(0.5, 0.1, -0.1, -0.4)) == (1, 2)  # nearly in profile
    tilted = poses(0.1, -0.1, -0.12)
    tilted[2, 2] = 0.1  # its head is tilted besides
    assert widest_pair(tilted) == (0, 1)


def test_a_head_that_does_not_turn() -> None:
    assert widest_pair(poses(0.01, 0.02, -0.03)) is None
    assert widest_pair(poses(0.01)) is None
    assert widest_pair(np.empty((0, 3))) is None


def test_pictures_of_poses(tmp_path: Path, corner_frame: np.ndarray) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        cv2.imwrite(str(path), cv2.cvtColor(corner_frame, cv2.COLOR_RGB2BGR))
    first, _ = read_poses(paths)
    assert (first == corner_frame).all()
    with pytest.raises(ConfigError, match="not a picture"):
        read_poses([paths[0], tmp_path / "none.png"])
    cv2.imwrite(str(paths[1]), corner_frame[1:])
    with pytest.raises(ConfigError, match="the same size"):
        read_poses(paths)


def test_the_camera_s_size_is_even_and_no_larger_than_asked_of_cameras() -> None:
    assert fit_camera([np.zeros((45, 61, 3), np.uint8)])[0].shape == (44, 60, 3)
    assert fit_camera([np.zeros((1080, 1920, 3), np.uint8)])[0].shape == (360, CAMERA_WIDTH_PX, 3)


def test_milliseconds() -> None:
    seconds = [i / 1000 for i in range(1, 201)]
    assert summary(seconds) == {"p50_ms": 100.0, "p95_ms": 190.0, "p99_ms": 198.0, "max_ms": 200.0}


def recorded(levels: list[int]) -> Run:
    """Ten frames a second; steps at 1 s, 2 s ..."""
    now_s = 0.0
    recorder = Recorder(lambda: now_s)
    for level in levels:
        now_s += 0.1
        recorder.add(np.full((8, 8, 3), level, np.uint8))
    return Run([float(i) for i in range(len(levels) // 10 + 1)], recorder, None)


def test_figures_of_a_leg() -> None:
    """Step 1 arrives after .3 s by way of half the change, step 2 never, nor does the way back from there."""
    one, two = [0] * 10, [0, 60, 100] + [100] * 7
    figures = figures_of("product", recorded(one + two + [100] * 20 + [100, 40, 0] + [0] * 7 + two))
    assert (figures["steps"], figures["seen"]) == (5, 3)
    assert figures["missed"] == {"the picture did not change": 2}
    assert figures["each_ms"] == {
        "onset": [200.0] * 3,
        "half-way": [200.0] * 3,
        "arrived": [300.0] * 3,
    }
    assert figures["onset"]["p50_ms"] == figures["half-way"]["max_ms"] == 200.0
    assert figures["output_fps"] == pytest.approx(10, abs=0.2)


def test_no_step_at_all_is_said() -> None:
    with pytest.raises(
        ICFaceError, match=r"^product: no step was seen, the picture did not change: 2 of 2; "
    ):
        figures_of("product", recorded([50] * 30))


def test_the_product_s_share() -> None:
    legs = {
        leg: {name: {"p50_ms": value * factor} for name, value in zip(MEASURES, (3.0, 4.0, 5.0), strict=True)}
        for leg, factor in (("floor", 1), ("product", 10))
    }
    assert share(legs) == {"onset": 27.0, "half-way": 36.0, "arrived": 45.0}
    assert share({"product": legs["product"]}) is None


@pytest.mark.parametrize(
    "flags",
    [
        ["--in", "/dev/video0"],
        ["--loop-back", "--in", "/dev/video0", "--out", "/dev/video1"],
        ["--attach"],
        ["--attach", "--in", "/dev/video0", "--out", "/dev/video1", "--legs", "floor"],
        ["--steps", "0"],
        ["--fps", "0"],
    ],
)
def test_flags_that_do_not_go_together(flags: list[str]) -> None:
    assert main(flags) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is for Linux")
def test_a_missing_device_is_said_with_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--in", "/dev/video77", "--out", "/dev/video78"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /dev/video77 is not there; make two with: sudo modprobe v4l2loopback")


def test_a_clip_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    assert main(["--clip", str(tmp_path / "clip.mp4")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_run_without_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--size", "256", "--steps", "2", "--warm-s", "0.7", "--hold-s", "0.8"]
    assert main([*flags, "--json", str(tmp_path / "figures.json")]) == 0
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["measured"] == IN_PROCESS
    floor, product = document["legs"]["floor"], document["legs"]["product"]
    assert floor["steps"] == product["steps"] == 2
    assert floor["seen"] == 2 and product["seen"] >= 1
    assert "host" in product["icface_live"]["engine"]
    for key in ("p50_ms", "max_ms"):
        times_ms = [floor["onset"][key], *(product[name][key] for name in MEASURES)]
        assert all(map(math.isfinite, times_ms)) and times_ms == sorted(times_ms)
    printed = capsys.readouterr().out
    assert printed.startswith(IN_PROCESS)
    assert "icface-live adds to the floor" in printed
