"""INT8 in the graph: convolutions between QuantizeLinear and DequantizeLinear (QDQ), which every library reads alike.

Signed 8 bit, symmetric; weights by output channel, activations by tensor, biases in float32: what ONNX Runtime, OpenVINO
and TensorRT-RTX all accept. Everything between convolutions stays float32, and so do transposed convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.precision import check_float32, cleaned
from export.running import session_of
from icface.arrays import Tensors
from icface.errors import ConfigError

Array = NDArray[Any]

LEVELS: Final = 127
"""−128 is not used, so that a value and its negative are the same."""
BINS: Final = 2048
_SHARES: Final = np.linspace(0.2, 1.0, 161)
"""Ranges that are tried, as shares of the largest value."""


def quantised(model: onnx.ModelProto, calibration: Iterable[Tensors]) -> onnx.ModelProto:
    """A graph whose convolutions are computed in 8 bit; its inputs and outputs keep their types.

    Args:
        model: a graph in float32, not changed.
        calibration: its inputs by name, as they are in use; read once.

    Raises:
        ConfigError: there is no convolution to quantise, no calibration, a value that is no number, or the graph is not
            in float32.
        EngineError: ONNX Runtime is missing or refuses the graph.
    """
    model = cleaned(model)
    check_float32(model)
    layers = quantisable(model)
    seen = observed(model, {node.input[0] for node in layers}, calibration)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = _Pairs()
    nodes: list[onnx.NodeProto] = []
    names = {node.output[0] for node in layers}
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.output[0] in names:
            value, weight = node.input[0], weights[node.input[1]]
            copy.input[0] = pairs.of_value(value, np.float32(seen[value].best_range() / LEVELS))
            copy.input[1] = pairs.of_weight(weight.name, numpy_helper.to_array(weight))
        nodes.extend([*pairs.take_nodes(), copy])
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(pairs.constants)
    made = cleaned(made)
    onnx.checker.check_model(made, full_check=True)
    return made


def quantisable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions with constant weights.

    What was measured, on a model of 32 channels and 6 blocks trained to follow pose and mouth, photos it had not seen,
    against float32; and OpenVINO's shortest time for a frame of 64 × 64 on one core (6.1 ms in float32):

    * all convolutions 47.2 dB, 2.2 ms; the first in float32 changes nothing;
    * the two transposed ones in float32 49.9 dB, 2.4 ms: this is what is done. ONNX Runtime has none in 8 bit anyway;
    * the last one in float32 48.9 dB, 2.7 ms; with the transposed ones 54.8 dB, 3.0 ms. Hardly faster than bfloat16,
      which takes 3.3 ms and gives 58 dB.

    Raises:
        ConfigError: there is none.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in constants]
    if not layers:
        raise ConfigError(
            f"{model.graph.name} has no convolution, so int8 would change nothing; choose --precision fp16 or fp32"
        )
    return layers


def weight_scales(weight: Array) -> NDArray[np.float32]:
    """(O,) the step of each output channel's weights (O, I, k, k): its largest is 127. A channel of zeros gets 1.

    Cutting the largest off for the least square error changes less than .1 dB, for better or worse.
    """
    largest = np.abs(weight).max(axis=(1, 2, 3))
    return np.where(largest > 0, largest / LEVELS, 1.0).astype(np.float32)


def observed(
    model: onnx.ModelProto, names: Iterable[str], calibration: Iterable[Tensors]
) -> dict[str, Histogram]:
    """The values that tensors of a graph take.

    Raises:
        ConfigError: no calibration, or a value that is no number.
        EngineError: as `session_of`.
    """
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    wanted, given = sorted(names), {value.name for value in model.graph.input}
    known = given | {value.name for value in model.graph.output}
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted if name not in known
    )
    session = session_of(shown)
    computed = [name for name in wanted if name not in given]
    seen = {name: Histogram() for name in wanted}
    for feeds in calibration:
        inputs = {name: feeds[name] for name in given}
        # Asked for nothing, it would give all outputs.
        outputs = session.run(computed, inputs) if computed else []
        values = {**inputs, **dict(zip(computed, outputs, strict=True))}
        for name in wanted:
            value = np.asarray(values[name])
            if not np.isfinite(value).all():
                raise ConfigError(
                    f"{name} of {model.graph.name} has values that are no numbers; its training failed"
                )
            seen[name].add(value)
    if any(not histogram.count for histogram in seen.values()):
        raise ConfigError(
            "int8 needs samples to find its ranges; give photos and a track with at least one row"
        )
    return seen


class Histogram:
    """How often magnitudes occur, in BINS of equal width that grow as needed; the width is a power of 2."""

    def __init__(self) -> None:
        self.largest = 0.0
        self._counts = np.zeros(BINS)
        self._width = 2.0**-40

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self._counts.sum())

    def add(self, values: Array) -> None:
        """Count the magnitudes of values."""
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        self.largest = max(self.largest, float(magnitudes.max(initial=0.0)))
        while self._width * BINS <= self.largest:
            pairs = self._counts.reshape(-1, 2).sum(1)
            self._counts = np.concatenate([pairs, np.zeros(BINS // 2)])
            self._width *= 2
        places = (magnitudes * np.float32(1 / self._width)).astype(np.int64)
        self._counts += np.bincount(places, minlength=BINS)

    def best_range(self) -> float:
        """The magnitude that is to be 127, so that the mean square of what rounding and cutting off change is least.

        As measured for `quantisable`: 47.2 dB, as the range of 99.99 % of the values, which is a number that one would
        have to know; 46.9 dB with 99.999 %, 43.1 with 99.9 %, 46.3 with the largest value. Moving the biases by what
        the rounded weights change on average adds less than .1 dB.
        """
        if self.largest == 0:
            return float(LEVELS)
        centres = (np.arange(BINS) + 0.5) * self._width
        ranges = self.largest * _SHARES
        errors = [self._error(centres, each / LEVELS) for each in ranges]
        return float(ranges[int(np.argmin(errors))])

    def _error(self, centres: Array, step: float) -> float:
        rounded = np.minimum(np.rint(centres / step), LEVELS) * step
        return float(self._counts @ (rounded - centres) ** 2)


class _Pairs:
    """QuantizeLinear and DequantizeLinear before values, DequantizeLinear behind weights in 8 bit; one each."""

    def __init__(self) -> None:
        self.constants: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[str, str] = {}

    def of_value(self, name: str, scale: np.float32) -> str:
        """The name of a value after it was in 8 bit."""
        if name not in self._made:
            steps = self._constants(name, np.asarray(scale))
            self._nodes.append(helper.make_node("QuantizeLinear", [name, *steps], [name + "_int8"]))
            self._made[name] = self._dequantised(name, steps)
        return self._made[name]

    def of_weight(self, name: str, weight: Array) -> str:
        """The name of weights after they were in 8 bit."""
        if name not in self._made:
            scales = weight_scales(weight)
            steps = scales.reshape(-1, 1, 1, 1)
            whole = np.clip(np.rint(weight / steps), -LEVELS, LEVELS).astype(np.int8)
            self.constants.append(numpy_helper.from_array(whole, name + "_int8"))
            self._made[name] = self._dequantised(name, self._constants(name, scales), axis=0)
        return self._made[name]

    def take_nodes(self) -> list[onnx.NodeProto]:
        """The nodes made since the last call."""
        taken, self._nodes = self._nodes, []
        return taken

    def _constants(self, name: str, scales: Array) -> list[str]:
        """Names of the scales and of the zero points, which are 0."""
        names = [name + "_scale", name + "_zero"]
        zeros = np.zeros(scales.shape, dtype=np.int8)
        self.constants.extend(
            numpy_helper.from_array(value, each) for each, value in zip(names, (scales, zeros), strict=True)
        )
        return names

    def _dequantised(self, name: str, steps: list[str], **settings: int) -> str:
        output = name + "_dequantised"
        self._nodes.append(
            helper.make_node("DequantizeLinear", [name + "_int8", *steps], [output], **settings)
        )
        return output
