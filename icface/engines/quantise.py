"""INT8 by ONNX Runtime: convolutions between QuantizeLinear and DequantizeLinear, which every library reads alike.

Signed 8 bit, symmetric; weights by output channel, inputs of convolutions by tensor, biases in float32: what ONNX
Runtime, OpenVINO and TensorRT-RTX all accept. Everything between convolutions stays float32, and so do transposed
convolutions. Measured on a model of 32 channels and 6 blocks, trained to follow pose and mouth, on photos it had not
seen, against float32; and OpenVINO's shortest time for a frame of 64 × 64 on one core (6.1 ms in float32):

* all convolutions: 47.2 dB, 2.2 ms;
* the two transposed ones in float32: 49.9 dB, 2.4 ms. This is what is done.
* the last one in float32: 48.9 dB, 2.7 ms; with the transposed ones 54.8 dB, 3.0 ms. That is hardly faster than
  bfloat16, which takes 3.3 ms and gives 58 dB.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import onnx

from icface.arrays import Tensors
from icface.engines.backends.onnxruntime import library_errors
from icface.errors import ConfigError, EngineError

PERCENTILE: Final = 99.99
"""Share of the values of a tensor that its range holds. As measured above: 47.2 dB; 46.9 with 99.999 %, 43.1 with
99.9 %, 46.3 with the largest value."""


def quantised(graph: bytes, calibration: Sequence[Tensors]) -> bytes:
    """A graph whose convolutions are computed in 8 bit; its inputs and outputs keep their types.

    Args:
        graph: an ONNX file in float32.
        calibration: its inputs by name, as they are in use.

    Raises:
        ConfigError: there is no convolution to quantise, no calibration, or a value that is no number.
        EngineError: ONNX Runtime is missing or refuses the graph.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise EngineError(f"ONNX Runtime is not installed ({error}); pip install onnxruntime") from error
    model = onnx.load_from_string(graph)
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise ConfigError(
            f"{model.graph.name} has no convolution, so int8 would change nothing; choose --precision fp16 or fp32"
        )
    if not calibration:
        raise ConfigError(
            "int8 needs samples to find its ranges; give photos and a track with at least one row"
        )
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
                    activation_type=quantization.QuantType.QInt8,
                    weight_type=quantization.QuantType.QInt8,
                    calibrate_method=quantization.CalibrationMethod.Percentile,
                    extra_options=settings,
                )
        except (ValueError, RuntimeWarning) as error:
            raise ConfigError(
                f"{model.graph.name} has values that are no numbers; its training failed ({error})"
            ) from error
        except library_errors() as error:
            raise EngineError(f"ONNX Runtime cannot quantise {model.graph.name}: {error}") from error
        return made.read_bytes()


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
