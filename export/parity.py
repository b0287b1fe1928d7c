"""Whether a lower precision still makes the same face: its frames against those of float32.

Two questions, of all samples. How far are the pixels apart? And would a tracker read the same attributes from both? The
second finds what the first averages away: frames in which no lid ever closes are 45 dB from those in which they blink.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import onnx

from export.running import Runner
from export.samples import Samples
from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, COUNT, NAMES, POSE, FloatArray, pose_from_unit
from icface.bundle import Bundle
from icface.errors import EngineError, RefusedError
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.face.measure import measure_attributes

logger = logging.getLogger(__name__)


LEAST_PSNR_DB: Final = {"fp32": 60.0, "fp16": 45.0, "bf16": 45.0, "int8": 38.0}
"""Of all samples together. 45 dB is 1.4 levels of 255 (root of the mean square), 38 dB is 3.2."""
POSE_BOUND_DEG: Final = 1.0
AU_BOUND: Final = {"fp32": 0.03, "fp16": 0.03, "bf16": 0.03, "int8": 0.06}
"""How much more than under noise of one level the measured attributes may differ, on average over the faces: the worst
of three angles, and of 17 Action Units. Of frames of photos, 256 pixels wide, noise of one level changes .06° and .006,
white noise of 45 dB .08° and .010, of 38 dB .15° and .016. Reduced to 64 pixels: .09° and .013; .2° and .024; .5° and
.048. With the track that comes along, lids that never close differ by .10, a smile that never comes by .20, brows that
never rise by .04."""
LOST_SHARE: Final = 0.02
"""Faces that may be seen in the reference alone: at the edge of what is taken for a face, chance decides."""

_LEAST_PX: Final = 256
_LOOKS: Final = 3
_BLACK: Final = np.zeros((64, 64, 3), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How two sets of frames compare."""

    precision: str
    frames: int
    psnr_db: float
    """Of the mean square error over all frames; at most 99."""
    worst_psnr_db: float
    """Of the frame that is farthest off."""
    faces_compared: int
    """Frames in which a face was measured, in both."""
    faces_lost: int
    """Frames in which it was measured in the reference, and not seen in the other."""
    pose_error_deg: float
    """Mean difference of the worst of pitch, yaw and roll."""
    pose_noise_deg: float
    """What noise of one level in the reference changes of the same."""
    au_error: float
    """Mean difference of the worst Action Unit, full-shape."""
    au_noise: float
    """What noise of one level in the reference changes of the same."""
    worst_au: str
    golden_psnr_db: float | None = None
    """Of the bundle's golden frame, where a graph was compared."""

    def describe(self) -> str:
        """One line."""
        pixels = f"{self.psnr_db:.1f} dB over {self.frames} frames, the worst {self.worst_psnr_db:.1f}"
        if not self.faces_compared:
            return f"{self.precision} against fp32: {pixels}; no face was found to measure"
        return (
            f"{self.precision} against fp32: {pixels}; measured on {self.faces_compared} faces: pose within "
            f"{self.pose_error_deg:.2f}° (under noise {self.pose_noise_deg:.2f}°), {self.worst_au} within "
            f"{self.au_error:.3f} ({self.au_noise:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def gate(
    bundle: Bundle,
    reference_graph: onnx.ModelProto,
    graph: onnx.ModelProto,
    precision: str,
    samples: Samples,
) -> ParityReport:
    """Run two graphs over all samples, in ONNX Runtime on the CPU, and compare their frames.

    Args:
        bundle: whose graphs they are; for its golden tensors.
        reference_graph: in float32.
        graph: from `in_precision` or `quantised`.
        precision: what it is held to.
        samples: made for the bundle.

    Raises:
        RefusedError: the frames are too far apart; with the figure.
        EngineError: ONNX Runtime is missing, or refuses a graph.
    """
    candidate = Runner(graph)
    golden = bundle.golden_tensors()
    golden_db = psnr_db(squared_error(candidate.frame(golden), np.asarray(golden["frame"], dtype=np.uint8)))
    reference = Runner(reference_graph)
    report = gate_frames(
        map(reference.frame, samples.feeds()), map(candidate.frame, samples.feeds()), precision
    )
    return replace(report, golden_psnr_db=golden_db)


def gate_frames(
    reference_frames: Iterable[Frame], candidate_frames: Iterable[Frame], precision: str
) -> ParityReport:
    """Compare frames (H, W, 3), one by one; from an engine as from a graph.

    Raises:
        RefusedError: they are too far apart; with the figure.
        EngineError: as `compared`.
    """
    report = compared(reference_frames, candidate_frames, precision)
    wanted = _missed(report)
    if wanted:
        raise RefusedError(f"{report.describe()}; {wanted}, {_REMEDY[precision]}")
    if not report.faces_compared:
        logger.warning("%s: the pixels alone were compared", report.describe())
    return report


_REMEDY: Final = {
    "int8": "use --precision fp16",
    "bf16": "use --precision fp16 or fp32",
    "fp16": "use --precision fp32",
    "fp32": "export the bundle again",
}


def _missed(report: ParityReport) -> str:
    """What a report is refused for; empty for none."""
    least_db, bound = LEAST_PSNR_DB[report.precision], AU_BOUND[report.precision]
    if not report.psnr_db >= least_db:
        return f"at least {least_db:.0f} dB is wanted"
    if report.faces_lost > LOST_SHARE * (report.faces_compared + report.faces_lost):
        return f"the face is lost in {report.faces_lost} frames"
    if report.pose_error_deg - report.pose_noise_deg > POSE_BOUND_DEG:
        return f"at most {POSE_BOUND_DEG:.0f}° more than under noise is allowed"
    if report.au_error - report.au_noise > bound:
        return f"at most {bound:g} more than under noise is allowed"
    return ""


def compared(
    reference_frames: Iterable[Frame], candidate_frames: Iterable[Frame], precision: str
) -> ParityReport:
    """How frames compare, whatever comes out.

    A face counts where it is also seen under noise of one level; a detector that is undecided about the reference says
    nothing about the other.

    Raises:
        EngineError: there is no frame, or they differ in number or size.
    """
    errors: list[float] = []
    differences: list[FloatArray] = []
    noises: list[FloatArray] = []
    lost = 0
    rng = np.random.default_rng(20)
    with closing(Viewer()) as viewer:
        for reference, candidate in _pairs(reference_frames, candidate_frames):
            errors.append(squared_error(candidate, reference))
            expected = viewer.measure(reference)
            shaken = None if expected is None else viewer.measure(noisy(reference, rng))
            if expected is None or shaken is None:
                continue
            found = viewer.measure(candidate)
            if found is None:
                lost += 1
                continue
            differences.append(_difference(found, expected))
            noises.append(_difference(shaken, expected))
    if not errors:
        raise EngineError("there is no frame to compare; give a track with at least one row")
    nothing = np.zeros((1, COUNT), dtype=np.float32)
    mean, noise = np.mean(differences or nothing, axis=0), np.mean(noises or nothing, axis=0)
    excess = mean - noise
    angle, unit = int(excess[POSE].argmax()), ACTION_UNITS.start + int(excess[ACTION_UNITS].argmax())
    return ParityReport(
        precision=precision,
        frames=len(errors),
        psnr_db=psnr_db(float(np.mean(errors))),
        worst_psnr_db=psnr_db(max(errors)),
        faces_compared=len(differences),
        faces_lost=lost,
        pose_error_deg=float(mean[angle]),
        pose_noise_deg=float(noise[angle]),
        au_error=float(mean[unit]),
        au_noise=float(noise[unit]),
        worst_au=NAMES[unit],
    )


def noisy(frame: Frame, rng: np.random.Generator) -> Frame:
    """A frame with −1, 0 or 1 level more, at random."""
    noise = rng.integers(-1, 2, frame.shape, dtype=np.int16)
    return np.clip(frame.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _pairs(first: Iterable[Frame], second: Iterable[Frame]) -> Iterator[tuple[Frame, Frame]]:
    others = iter(second)
    for reference in first:
        candidate = next(others, None)
        if candidate is None or candidate.shape != reference.shape:
            found = "no frame" if candidate is None else f"a frame of {candidate.shape}"
            raise EngineError(
                f"{found} is there to compare with one of {reference.shape}; run both on the same samples"
            )
        yield reference, candidate
    if next(others, None) is not None:
        raise EngineError("there are more frames than those to compare with; run both on the same samples")


def _difference(found: FloatArray, expected: FloatArray) -> FloatArray:
    """(20,) how far two measurements are apart; pose in degrees."""
    pose_rad = pose_from_unit(found[POSE]) - pose_from_unit(expected[POSE])
    units = found[ACTION_UNITS] - expected[ACTION_UNITS]
    return np.abs(np.concatenate([np.rad2deg(pose_rad), units])).astype(np.float32)


def squared_error(found: Frame, expected: Frame) -> float:
    """Mean square of the difference of two frames, in levels."""
    return float(np.mean((found.astype(np.float64) - expected.astype(np.float64)) ** 2))


def psnr_db(error: float) -> float:
    """Of a mean square error, in levels of 255; at most 99."""
    return 99.0 if error == 0 else min(99.0, 10 * float(np.log10(255**2 / error)))


class Viewer:
    """Measures the face of frames, each by itself, with the tracker's own detector. Close it after use.

    Frames are tight, which MediaPipe does not like: small ones are enlarged, and all get a border as wide as a webcam's.
    Each is shown several times after a black picture: its face is looked for once and then looked at where it is, and
    nothing of the frame before is left over.
    """

    def __init__(self, detector: LandmarkDetector | None = None) -> None:
        self._detector = detector or open_detector(video=True)
        self._time_s = 0.0

    def measure(self, frame: Frame) -> FloatArray | None:
        """(20,) full-shape attributes against the population's neutral face; None where no face is seen."""
        faces = []
        for look in (_BLACK, *[_framed(frame)] * _LOOKS):
            self._time_s += 0.04
            faces = self._detector.detect(look, self._time_s)
        return measure_attributes(faces[0]) if faces else None

    def close(self) -> None:
        """Let go of the detector."""
        self._detector.close()


def _framed(frame: Frame) -> Frame:
    """At least 256 pixels a side, with a border of half of it."""
    if min(frame.shape[:2]) < _LEAST_PX:
        scale = _LEAST_PX / min(frame.shape[:2])
        frame = np.asarray(
            cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), dtype=np.uint8
        )
    y, x = frame.shape[0] // 2, frame.shape[1] // 2
    return np.asarray(cv2.copyMakeBorder(frame, y, y, x, x, cv2.BORDER_REPLICATE), dtype=np.uint8)
