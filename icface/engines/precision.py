"""Which graph of a bundle serves a precision.

A graph's own types are what is computed in, and nothing is left to flags: TensorRT 11 and TensorRT-RTX are strongly
typed. What must not be rounded is float32 in every graph: pixel positions, the ends from and to uint8, and the product
of the attributes (`export/paper_graph.py`).

* fp32: the bundle's graph.
* fp16: the bundle's second graph, written in half precision. A graph without convolutions is float32 as a whole.
* bf16: the graph of fp32. OpenVINO computes its convolutions in bfloat16 when it is told to.
* int8: made here by ONNX Runtime from the graph of fp32, on samples. Convolutions stand between QuantizeLinear and
  DequantizeLinear. Signed 8 bit, symmetric; weights by output channel, inputs of convolutions by tensor, biases in
  float32: what ONNX Runtime, OpenVINO and TensorRT-RTX all accept. Everything else stays float32. On x86 without VNNI
  weights have 7 bit: OpenVINO's sums of two products would leave 16 bit there.

Transposed convolutions stay float32 in int8, too. Measured on a model of 32 channels and 6 blocks, trained to follow
pose and mouth, on photos it had not seen, against float32; and OpenVINO's shortest time for a frame of 64 × 64 on one
core (6.1 ms in float32):

* all convolutions in int8: 47.2 dB, 2.2 ms;
* the two transposed ones in float32: 49.9 dB, 2.4 ms. This is what is done.
* the last one in float32: 48.9 dB, 2.7 ms; with the transposed ones 54.8 dB, 3.0 ms. That is hardly faster than
  bfloat16, which takes 3.3 ms and gives 58 dB.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError

from icface.arrays import Tensors
from icface.bundle import Bundle
from icface.engines.backends.onnxruntime import library_errors
from icface.engines.base import PRECISIONS, check_graph, graph_variant
from icface.engines.samples import Samples
from icface.errors import BundleError, ConfigError, EngineError

_CPUINFO: Final = Path("/proc/cpuinfo")
PERCENTILE: Final = 99.99
"""Share of the values of a tensor that its range holds in int8. As measured above: 47.2 dB; 46.9 with 99.999 %, 43.1
with 99.9 %, 46.3 with the largest value."""


def graph_for(bundle: Bundle, precision: str, samples: Callable[[], Samples]) -> bytes:
    """The graph that makes a bundle's frames in a precision, as an ONNX file. `samples` is called for int8 alone.

    Raises:
        ConfigError: there is no such precision, the bundle has no graph in half precision, or as `quantised`.
        BundleError: a graph is no ONNX, or not what the manifest says.
        EngineError: ONNX Runtime is missing, or refuses the graph.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"there is no precision {precision!r}; choose from {', '.join(PRECISIONS)}")
    variant, path = graph_variant(bundle, "animate")
    if precision == "fp16" and variant.graph_fp16 is not None:
        path = bundle.file(variant.graph_fp16)
    try:
        content = path.read_bytes()
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
        inputs, outputs = ([item.name for item in items] for items in (model.graph.input, model.graph.output))
        check_graph(variant, bundle, inputs, outputs)
    except (OSError, DecodeError, onnx.checker.ValidationError, EngineError) as error:
        raise BundleError(f"{path} is not a graph that can be built: {error}") from error
    if precision == "int8":
        return quantised(content, list(samples().feeds()))
    if precision == "fp16" and variant.graph_fp16 is None and has_convolutions(content):
        raise ConfigError(
            f"{bundle.name} has no graph in half precision; pack the model again with this version, or choose fp32"
        )
    return content


def has_convolutions(graph: bytes) -> bool:
    """Whether a lower precision would change anything."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in onnx.load_from_string(graph).graph.node)


def quantised(graph: bytes, calibration: Sequence[Tensors]) -> bytes:
    """A graph in float32 with its convolutions in 8 bit; its inputs and outputs keep their types.

    Args:
        graph: an ONNX file.
        calibration: its inputs by name, as they are in use.

    Raises:
        ConfigError: there is no convolution to quantise, no calibration, or a value that is no number.
        EngineError: ONNX Runtime is missing or refuses the graph.
    """
    from onnxruntime import quantization

    model = onnx.load_from_string(graph)
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ConfigError(
            f"{model.graph.name} has no convolution, so int8 would change nothing; choose --precision fp16 or fp32"
        )
    if not calibration:
        advice = "give photos and a track with at least one row"
        raise ConfigError(f"int8 needs samples to find its ranges; {advice}")
    settings = {
        "ActivationSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv"],
        "CalibPercentile": PERCENTILE,
        # Sample by sample: together, the values between the layers do not fit into memory.
        "CalibStridedMinMax": 1,
    }
    with tempfile.TemporaryDirectory() as name:
        given, shaped, made = (Path(name) / file for file in ("given.onnx", "shaped.onnx", "made.onnx"))
        given.write_bytes(graph)
        try:
            # It prints its progress, and warns where values are no numbers.
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                quantization.quant_pre_process(
                    given, shaped, skip_optimization=True, skip_symbolic_shape=True
                )
                quantization.quantize_static(
                    shaped,
                    made,
                    _Reader(calibration),
                    op_types_to_quantize=["Conv"],
                    per_channel=True,
                    reduce_range=products_overflow(),
                    activation_type=quantization.QuantType.QInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.Percentile,
                    extra_options=settings,
                )
        except (ValueError, RuntimeWarning) as error:
            problem = "has values that are no numbers; its training failed"
            raise ConfigError(f"{model.graph.name} {problem} ({error})") from error
        except library_errors() as error:
            raise EngineError(f"ONNX Runtime cannot quantise {model.graph.name}: {error}") from error
        return made.read_bytes()


def products_overflow() -> bool:
    """Whether this processor sums products of 8 bit in 16 bit, as x86 does without VNNI. Then weights have 7 bit."""
    try:
        facts = _CPUINFO.read_text(encoding="utf-8")
    except (OSError, ValueError):  # no Linux
        return False
    return "avx2" in facts and "vnni" not in facts


class _Reader:
    """Samples as ONNX Runtime asks for them: a range, then one after the other until None."""

    def __init__(self, samples: Sequence[Tensors]) -> None:
        self._samples = samples
        self._asked: Iterator[Tensors] = iter(())

    def __len__(self) -> int:
        return len(self._samples)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._asked = iter(self._samples[start_index:end_index])

    def get_next(self) -> Tensors | None:
        return next(self._asked, None)
