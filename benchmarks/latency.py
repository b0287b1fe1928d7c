"""Glass to glass: from a driver who moves in front of the camera to the picture that shows it.

    python benchmarks/latency.py                                      in this process: camera to sink
    python benchmarks/latency.py --in /dev/video0 --out /dev/video1   camera device to virtual camera (Linux)
                                 [--attach]                           ... of an icface-live that runs already

The camera's picture is never sent on, so a clock painted into it would not come out. The driver is the signal instead:
the camera shows a driver who holds still, and from one frame to the next looks elsewhere. The output, which was still,
becomes another still picture. The benchmark takes the time from the moment that the camera gets the first frame of such
a step to the first output frame that

- clearly differs from the old picture, by 15 % of what the step changes (`onset`);
- is nearer to the new picture than to the old one (`half-way`);
- no longer clearly differs from the new one (`arrived`): the tracker smooths, so the last bit takes some frames.

Leg `product` is icface-live. Leg `floor` has a pass-through in its place and shows what devices and reader cost. A step
that never showed, or whose pictures were not still before and after it, is counted as missed and not timed. No figure
contains the sensor's exposure and transfer, or the viewer's screen.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import math
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import benchmark_parser, write_figures
from benchmarks.loopback import Product, Webcam, Worker, check_devices, pass_on, pass_on_devices, read_back
from benchmarks.steps import Player, Recorder, find_steps, percentile, schedule
from icface.arrays import Frame
from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError
from realtime.cameras import Camera, CameraConfig, CameraInfo, CapturedFrame, open_camera
from realtime.choices import SIZES
from realtime.config import LiveConfig
from realtime.metrics import Metrics
from realtime.sinks import TICK_S, Sink

LEGS = ("floor", "product")
MEASURES = {"onset": "onset_s", "half-way": "halfway_s", "arrived": "arrived_s"}
WITH_DEVICES, IN_PROCESS = (
    "camera device to virtual camera",
    "camera to sink, in this process, without devices",
)
CAMERA_WIDTH_PX: Final = 640
"""Wider pictures are scaled down: this is what icface-live asks of a camera."""
LEAST_TURN_RAD: Final = 0.1


# The driver


def choose_poses(clip: Path) -> list[Frame]:
    """Two frames of a clip, (H, W, 3) RGB, in which the head is turned differently.

    Raises:
        ICFaceError: the clip cannot be read, or its driver does not turn the head.
    """
    # These are slow to load, and not needed where the poses are given.
    from icface.face.landmarks import open_detector
    from icface.face.pose import head_pose

    frames, poses_rad = [], []
    detector = open_detector(video=True)
    try:
        with open_camera(CameraConfig(device=str(clip))) as camera:
            if not camera.info.is_file:
                raise ConfigError(f"--clip {clip} is not a video file")
            for captured in camera.frames():
                for face in detector.detect(captured.frame, captured.time_s)[:1]:
                    pose = head_pose(face)
                    frames.append(captured.frame)
                    poses_rad.append((pose.pitch_rad, pose.yaw_rad, pose.roll_rad))
    finally:
        detector.close()
    pair = widest_pair(np.reshape(poses_rad, (-1, 3)))
    if pair is None:
        raise ConfigError(f"{clip}: the head turns too little for steps; give another --clip, or two --poses")
    return [frames[i] for i in pair]


def widest_pair(poses_rad: NDArray[np.float64]) -> tuple[int, int] | None:
    """The two of (n, 3) pitch, yaw, roll that differ most in yaw and little otherwise; None where none differ.

    The tracker rejects a turn of more than JUMP_RAD from one frame to the next, and it learns the driver's neutral
    face within GATE_TURN_RAD. The poses keep some distance from both limits, so that a step is like any movement.
    """
    from icface.face.calibration import GATE_TURN_RAD
    from icface.face.tracker import JUMP_RAD

    usable = np.flatnonzero(np.abs(poses_rad[:, 1]) < 0.8 * GATE_TURN_RAD)
    if usable.size < 2:
        return None
    apart = np.abs(poses_rad[usable, None] - poses_rad[None, usable])
    worth = apart[..., 1] - apart[..., 0] - apart[..., 2]
    worth[apart.max(axis=2) > 0.8 * JUMP_RAD] = -1.0
    first, second = np.unravel_index(int(worth.argmax()), worth.shape)
    if worth[first, second] < LEAST_TURN_RAD:
        return None
    return int(usable[first]), int(usable[second])


def read_poses(paths: Sequence[Path]) -> list[Frame]:
    """The given pictures, (H, W, 3) RGB.

    Raises:
        ConfigError: one cannot be read, or they differ in size.
    """
    frames = []
    for path in paths:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ConfigError(f"--poses: {path} is not a picture that can be read")
        frames.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False))
    if len({frame.shape for frame in frames}) > 1:
        raise ConfigError("--poses: both pictures must have the same size")
    return frames


def fit_camera(frames: Sequence[Frame]) -> list[Frame]:
    """The frames at most CAMERA_WIDTH_PX wide, and with even sides, which 4:2:0 needs."""
    height, width = frames[0].shape[:2]
    scale = min(1.0, CAMERA_WIDTH_PX / width)
    size_px = (round(width * scale / 2) * 2, round(height * scale / 2) * 2)
    small = [cv2.resize(frame, size_px, interpolation=cv2.INTER_AREA) for frame in frames]
    return [frame.astype(np.uint8, copy=False) for frame in small]


# One leg


@dataclass(frozen=True)
class Run:
    """What one leg recorded."""

    bounds_s: list[float]
    recorder: Recorder
    report: dict[str, Any] | None
    """icface-live's own statistics; None for the floor, and where somebody else started icface-live."""


class PlayedCamera(Camera):
    """A camera that shows a player's poses, and ends with its schedule."""

    def __init__(self, player: Player, poses: Sequence[Frame], fps: float) -> None:
        self._shown = iter(player)
        self._poses = poses
        self._index = 0
        height, width = poses[0].shape[:2]
        self.info = CameraInfo(
            name="two poses",
            width_px=width,
            height_px=height,
            fps=Fraction(fps).limit_denominator(1001),
            fourcc="RGB3",
            is_file=False,
            frame_count=None,
        )

    def read(self) -> CapturedFrame | None:
        pose = next(self._shown, None)
        if pose is None:
            return None
        captured = CapturedFrame(self._poses[pose], self._index, time.monotonic())
        self._index += 1
        return captured

    def close(self) -> None:
        """Nothing to release."""


class RecordingSink(Sink):
    """Records what it is sent; its first frame begins the schedule."""

    name = "recording"

    def __init__(self, recorder: Recorder, player: Player) -> None:
        self._recorder = recorder
        self._player = player

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        """Nothing to open."""

    def send(self, frame: Frame, time_s: float) -> None:
        self._recorder.add(frame)
        self._player.ready.set()

    def close(self) -> None:
        """Nothing to release."""


def run_in_process(leg: str, config: LiveConfig, player: Player, poses: Sequence[Frame]) -> Run:
    """One leg without devices."""
    recorder = Recorder()
    camera, sink = PlayedCamera(player, poses, config.camera_fps), RecordingSink(recorder, player)
    report = None
    if leg == "floor":
        pass_on(camera, sink, threading.Event())
    else:
        report = _run_session(config, camera, sink)
    return Run(player.bounds_s, recorder, report)


def _run_session(config: LiveConfig, camera: Camera, sink: Sink) -> dict[str, Any]:
    """The product between a camera and a sink of ours; gives its statistics."""
    # This loads everything. With devices it is not needed, because the product is another process.
    from realtime import session

    stats = Metrics()
    session.run(config, stats, threading.Event(), camera=camera, sinks=[sink])
    return stats.report()


def run_with_devices(
    leg: str,
    config: LiveConfig,
    player: Player,
    poses: Sequence[Frame],
    devices: tuple[str, str],
    attach: bool,
) -> Run:
    """One leg from a camera device to a virtual camera."""
    camera, virtual = devices
    check_devices(camera, virtual, attach=attach)
    recorder = Recorder()
    product = None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        webcam = stack.enter_context(Webcam(camera, poses))
        checks = [stack.enter_context(Worker("webcam", lambda stop: webcam.play(player, stop))).check]
        if leg == "floor":
            floor = Worker("floor", lambda stop: pass_on_devices(camera, virtual, config, stop))
            checks.append(stack.enter_context(floor).check)
        elif not attach:
            product = stack.enter_context(Product(config, camera, virtual, folder / "stats.json"))
            checks.append(product.check)
            product.wait_until_open()
        # The reader stops before icface-live ends, because a reader without a writer waits for ever.
        with Worker("reader", lambda stop: read_back(virtual, config, recorder, player, stop)) as reader:
            checks.append(reader.check)
            while not player.over.wait(0.1):
                for check in checks:
                    check()
        return Run(player.bounds_s, recorder, product.report() if product is not None else None)


# Figures


def summary(values_s: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    figures_s = {f"p{percent}_ms": percentile(values_s, percent) for percent in (50, 95, 99)}
    return {name: round(value * 1e3, 2) for name, value in {**figures_s, "max_ms": max(values_s)}.items()}


def figures_of(leg: str, run: Run) -> dict[str, Any]:
    """One leg's part of the document.

    Raises:
        ICFaceError: no step was seen.
    """
    begin_s, end_s = run.bounds_s[0], run.bounds_s[-1]
    steps = find_steps(run.bounds_s, run.recorder.times_s, run.recorder.pictures)
    seen = [step for step in steps if not step.missed]
    missed = Counter(step.missed for step in steps if step.missed)
    if not seen:
        raise ICFaceError(
            f"{leg}: no step was seen, {_counts(missed)} of {len(steps)}; on a slow machine give a longer --hold-s"
        )
    inside = sum(begin_s <= time_s <= end_s for time_s in run.recorder.times_s)
    figures: dict[str, Any] = {
        "steps": len(steps),
        "seen": len(seen),
        "missed": dict(missed),
        "output_fps": round(inside / (end_s - begin_s), 2),
        **{name: summary([getattr(step, field) for step in seen]) for name, field in MEASURES.items()},
        "each_ms": {
            name: [round(getattr(step, field) * 1e3, 2) for step in seen] for name, field in MEASURES.items()
        },
    }
    if run.report is not None:
        stages = run.report["stages"]
        figures["icface_live"] = {
            "engine": run.report["about"]["engine"],
            "fps": run.report["fps"],
            "levels": run.report["levels"],
            "stages": {
                name: stages[name] for name in ("capture", "track", "animate", "latency") if name in stages
            },
        }
    return figures


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def table(measured: str, legs: dict[str, dict[str, Any]]) -> str:
    """For people."""
    lines = [measured, f"{'':<20}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}   ms"]
    for leg, figures in legs.items():
        for name in MEASURES:
            cells = "".join(f"{value:9.2f}" for value in figures[name].values())
            lines.append(f"{f'{leg}, {name}':<20}{cells}")
        missed = f"; missed: {_counts(figures['missed'])}" if figures["missed"] else ""
        read = f"{figures['output_fps']:.1f} FPS read"
        lines.append(f"  {figures['seen']} of {figures['steps']} steps seen, {read}{missed}")
        if "icface_live" in figures:
            lines.append(f"  {_account(figures['icface_live'])}")
    return "\n".join(lines)


def _account(own: dict[str, Any]) -> str:
    """What icface-live says of itself."""
    latency_ms = own["stages"].get("latency", {}).get("p50_ms", math.nan)
    reduced = {level: count for level, count in own["levels"].items() if level != "full"}
    line = f"{own['engine']}; capture to sent by its own account: p50 {latency_ms:.2f} ms"
    return line + (f"; frames at reduced levels: {_counts(reduced)}" if reduced else "")


def share(legs: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """What icface-live adds to the floor, in ms by the medians; None where one of them was not measured."""
    if not set(LEGS) <= set(legs):
        return None
    return {
        name: round(legs["product"][name]["p50_ms"] - legs["floor"][name]["p50_ms"], 2) for name in MEASURES
    }


# The command


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "source", "clip", "size", "engine", "model", "json")
    add = parser.add_argument
    add("--in", dest="camera", metavar="DEVICE", help="v4l2loopback device that is the webcam")
    add("--out", dest="virtual", metavar="DEVICE", help="the one that is the virtual camera")
    add("--loop-back", action="store_true", help="in this process; so it is without devices")
    add("--attach", action="store_true", help="icface-live runs already, from --in to --out")
    add("--legs", nargs="+", choices=LEGS, help="default: both; with --attach the product")
    add("--poses", type=Path, nargs=2, metavar="PICTURE", help="instead of two frames of --clip")
    add("--fps", type=float, default=30.0, help="of the camera (default: %(default)g)")
    add("--steps", type=int, default=100, help="how many (default: %(default)s)")
    add("--hold-s", type=float, default=0.8, help="from step to step (default: about %(default)g)")
    add("--warm-s", type=float, default=3.0, help="before the first step (default: %(default)g)")
    return parser


def check_flags(flags: argparse.Namespace) -> None:
    """Check that the flags go together, and fill in `legs`.

    Raises:
        ConfigError: they do not.
    """
    if (flags.camera is None) != (flags.virtual is None):
        raise ConfigError("--in and --out go together")
    if flags.loop_back and flags.camera is not None:
        raise ConfigError("--loop-back is without devices: leave --in and --out away")
    if flags.attach and flags.camera is None:
        raise ConfigError("--attach needs --in and --out")
    flags.legs = tuple(flags.legs or (("product",) if flags.attach else LEGS))
    if flags.attach and "floor" in flags.legs:
        raise ConfigError(
            "--attach: the floor needs the virtual camera for itself; measure it before icface-live runs"
        )
    if flags.steps < 1 or not 1 <= flags.fps <= 240 or not flags.hold_s > 0 or not flags.warm_s > 0:
        raise ConfigError("--steps, --hold-s and --warm-s must be more than 0, --fps 1 to 240")


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """All legs; gives the document.

    Raises:
        ICFaceError: in one line, what failed.
    """
    devices = (flags.camera, flags.virtual) if flags.camera is not None else None
    if devices is not None:
        check_devices(*devices, attach=flags.attach)  # before the poses are chosen, which takes seconds
    poses = fit_camera(read_poses(flags.poses) if flags.poses else choose_poses(flags.clip))
    height_px, width_px = poses[0].shape[:2]
    config = LiveConfig(
        sources=(flags.source,),
        camera_size_px=(width_px, height_px),
        camera_fps=flags.fps,
        size_px=SIZES[flags.size],
        engine=flags.engine,
        model=flags.model,
        build=False,  # nothing is built beside what is measured
        null=True,  # otherwise it would open a virtual camera in this process as well
    )
    ticks = schedule(steps=flags.steps, fps=flags.fps, hold_s=flags.hold_s, warm_s=flags.warm_s)
    legs = {}
    for leg in flags.legs:
        player = Player(ticks, flags.fps)
        if devices is None:
            run = run_in_process(leg, config, player, poses)
        else:
            run = run_with_devices(leg, config, player, poses, devices, flags.attach)
        legs[leg] = figures_of(leg, run)
    return {
        "measured": IN_PROCESS if devices is None else WITH_DEVICES,
        "camera": {"size_px": [width_px, height_px], "fps": flags.fps},
        "size": flags.size,
        "hold_s": flags.hold_s,
        "legs": legs,
        "share_ms": share(legs),
    }


def run_all(flags: argparse.Namespace) -> None:
    """Run the benchmark and print its figures."""
    check_flags(flags)
    document = measure(flags)
    write_figures(flags.json, document)
    print(table(document["measured"], document["legs"]))
    if document["share_ms"] is not None:
        added = ", ".join(f"{name} {value:.2f} ms" for name, value in document["share_ms"].items())
        print(f"icface-live adds to the floor, by the medians: {added}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 with one line where it cannot, 2 where a flag or setting cannot be used."""
    return run_command(arguments(), run_all, argv)


if __name__ == "__main__":
    sys.exit(main())
