"""Whether a lower precision still makes the same face: its frames are compared with those of float32.

There are two questions. How far are the pixels apart? And does a tracker read the same attributes from both? The second
one finds what the first one averages away: frames in which no lid ever closes are 45 dB from those in which they blink.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx

from icface.arrays import Frame, Tensors
from icface.attributes import ACTION_UNITS, COUNT, NAMES, POSE, FloatArray, pose_from_unit
from icface.bundle import Bundle
from icface.engines.backends.onnxruntime import runner
from icface.engines.backends.openvino import compiled
from icface.engines.samples import Samples
from icface.errors import EngineError, RefusedError
from icface.face.viewer import Viewer
from icface.quality import psnr_db, psnr_of_error_db

logger = logging.getLogger(__name__)

LEAST_PSNR_DB: Final = {"fp32": 60.0, "fp16": 45.0, "bf16": 45.0, "int8": 38.0}
"""Of all samples together. 45 dB is 1.4 levels of 255 (root of the mean square), 38 dB is 3.2."""
POSE_BOUND_DEG: Final = 1.0
AU_BOUND: Final = {"fp32": 0.03, "fp16": 0.03, "bf16": 0.03, "int8": 0.06}
"""How much more the measured attributes may differ than under noise of one level, on average over the faces: the worst
of three angles, and the worst of 17 Action Units. Measured on frames of photos, 256 pixels wide: noise of one level
changes .08° and .005, white noise of 45 dB .14° and .009, of 38 dB .26° and .019. At 64 pixels it is .12° and .010; .17°
and .019; .34° and .080. With the shipped track, lids that never close differ by .12, a smile that never comes by .20,
brows that never draw together by .05. Inner brows that never rise differ by .01, which is not seen."""
LOST_SHARE: Final = 0.02
"""Share of the faces that may be seen in the reference alone: where a face is hardly seen, chance decides."""
LARGEST_DB: Final = 99.0
"""What is reported for equal frames."""
_REMEDY: Final = {"int8": "use --precision bf16, fp16 or fp32", "fp32": "export the bundle again"}
_SAME: Final = "run both on the same samples"


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How two sets of frames compare."""

    precision: str
    frames: int
    psnr_db: float
    """From the mean square error over all frames; at most LARGEST_DB."""
    worst_psnr_db: float
    """The same for the frame that is farthest off."""
    faces_compared: int
    """Frames in which a face was measured, in both."""
    faces_lost: int
    """Frames in which it was measured in the reference, and not seen in the other."""
    pose_error_deg: float
    """Mean difference of the worst of pitch, yaw and roll."""
    pose_noise_deg: float
    """The same for noise of one level in the reference."""
    au_error: float
    """Mean difference of the worst Action Unit, full-shape."""
    au_noise: float
    """The same for noise of one level in the reference."""
    worst_au: str
    golden_psnr_db: float | None = None
    """For the bundle's golden frame, where a graph was compared."""

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


def gate(bundle: Bundle, graph: bytes, precision: str, samples: Samples) -> ParityReport:
    """Run a graph and the bundle's own, in float32, over all samples and compare their frames.

    OpenVINO runs `bf16`, ONNX Runtime everything else.

    Raises:
        RefusedError: the frames are too far apart; with the figure.
        EngineError: a library is missing or refuses a graph, or this CPU has no bfloat16.
    """
    assert bundle.graph.graph is not None  # `graph` was made of it
    reference = frames_of(bundle.file(bundle.graph.graph).read_bytes())
    candidate = frames_of(graph, bf16=precision == "bf16")
    report = gate_frames(map(reference, samples.feeds()), map(candidate, samples.feeds()), precision)
    golden = bundle.golden_tensors()
    return replace(report, golden_psnr_db=min(psnr_db(candidate(golden), golden["frame"]), LARGEST_DB))


def frames_of(graph: bytes, *, bf16: bool = False) -> Callable[[Tensors], Frame]:
    """Makes frames (H, W, 3) by a graph on the CPU: in ONNX Runtime, or in OpenVINO in bfloat16.

    Raises:
        EngineError: the library refuses the graph, or this CPU has no bfloat16.
    """
    if bf16:
        network = compiled(graph, "the graph", threads=0, option="bf16")
        names = [name for port in network.inputs for name in port.names]
        return lambda feeds: np.asarray(network({name: feeds[name] for name in names})["frame"])
    run = runner(rounding(graph))
    return lambda feeds: run(feeds)["frame"]


def rounding(graph: bytes) -> bytes:
    """A graph in half precision as one in float32 that rounds every value to half precision.

    ONNX Runtime has few operators in half precision for CPUs. It puts float32 ones in their place and leaves out the
    casts between them, so it rounds less often than a GPU and no value overflows. Casts in a float32 graph stay.
    """
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    model = onnx.load_from_string(graph)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    lowered = {value.name for value in inferred if value.type.tensor_type.elem_type == half}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.value_info[:]
    for node in model.graph.node:
        names = lowered.intersection(node.output)
        if not (names and node.op_type == "Cast"):
            copy = made.graph.node.add()
            copy.CopyFrom(node)
            copy.output[:] = [name + "_exact" if name in names else name for name in node.output]
        for name in names:
            exact = node.input[0] if node.op_type == "Cast" else name + "_exact"
            made.graph.node.append(onnx.helper.make_node("Cast", [exact], [name + "_half"], to=half))
            made.graph.node.append(onnx.helper.make_node("Cast", [name + "_half"], [name], to=single))
    for tensor in made.graph.initializer:
        if tensor.data_type == half:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return bytes(made.SerializeToString())


def gate_frames(
    reference_frames: Iterable[Frame], candidate_frames: Iterable[Frame], precision: str
) -> ParityReport:
    """Compare frames (H, W, 3) one by one; RefusedError with the figure where they are too far apart."""
    report = compared(reference_frames, candidate_frames, precision)
    least_db, bound = LEAST_PSNR_DB[precision], AU_BOUND[precision]
    lost_bound = LOST_SHARE * (report.faces_compared + report.faces_lost)
    wanted = ""
    if not report.psnr_db >= least_db:
        wanted = f"at least {least_db:.0f} dB is wanted"
    elif report.faces_lost > lost_bound:
        wanted = f"the face is lost in {report.faces_lost} frames"
    elif report.pose_error_deg - report.pose_noise_deg > POSE_BOUND_DEG:
        wanted = f"at most {POSE_BOUND_DEG:.0f}° more than under noise is allowed"
    elif report.au_error - report.au_noise > bound:
        wanted = f"at most {bound:g} more than under noise is allowed"
    if wanted:
        remedy = _REMEDY.get(precision, "use --precision fp32")
        raise RefusedError(f"{report.describe()}; {wanted}, {remedy}")
    if not report.faces_compared:
        logger.warning("%s: the pixels alone were compared", report.describe())
    return report


def compared(
    reference_frames: Iterable[Frame], candidate_frames: Iterable[Frame], precision: str
) -> ParityReport:
    """Compare frames and report whatever comes out; EngineError where there is none, or they differ in number or size.

    A face counts where it is also seen under noise of one level. A detector that is undecided about the reference says
    nothing about the other frame.
    """
    errors: list[float] = []
    differences: list[FloatArray] = []
    noises: list[FloatArray] = []
    lost = 0
    rng = np.random.default_rng(20)
    with closing(Viewer()) as viewer:
        for reference, candidate in itertools.zip_longest(reference_frames, candidate_frames):
            if reference is None:
                raise EngineError(f"there are more frames than those to compare with; {_SAME}")
            if candidate is None or candidate.shape != reference.shape:
                found = "no frame" if candidate is None else f"a frame of {candidate.shape}"
                raise EngineError(f"{found} is there to compare with one of {reference.shape}; {_SAME}")
            errors.append(float(np.mean((candidate.astype(np.float64) - reference) ** 2)))
            expected, shaken, seen = viewer.measure((reference, noisy(reference, rng), candidate))
            if np.isnan(expected).any() or np.isnan(shaken).any():
                continue
            if np.isnan(seen).any():
                lost += 1
                continue
            differences.append(_difference(seen, expected))
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
        psnr_db=min(LARGEST_DB, psnr_of_error_db(float(np.mean(errors)))),
        worst_psnr_db=min(LARGEST_DB, psnr_of_error_db(max(errors))),
        faces_compared=len(differences),
        faces_lost=lost,
        pose_error_deg=float(mean[angle]),
        pose_noise_deg=float(noise[angle]),
        au_error=float(mean[unit]),
        au_noise=float(noise[unit]),
        worst_au=NAMES[unit],
    )


def noisy(frame: Frame, rng: np.random.Generator) -> Frame:
    """A frame with −1, 0 or 1 added to each value at random."""
    noise = rng.integers(-1, 2, frame.shape, dtype=np.int16)
    shaken: Frame = np.clip(frame.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    return shaken


def _difference(found: FloatArray, expected: FloatArray) -> FloatArray:
    """(20,) how far two measurements are apart, the pose in degrees."""
    pose_rad = pose_from_unit(found[POSE]) - pose_from_unit(expected[POSE])
    units = found[ACTION_UNITS] - expected[ACTION_UNITS]
    return np.asarray(np.abs(np.concatenate([np.rad2deg(pose_rad), units])), dtype=np.float32)
