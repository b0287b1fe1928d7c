"""torch modules as ONNX nodes: a graph that holds what is computed, and nothing of how torch computes it.

Only the modules that our networks are made of. Batch normalisation disappears into the convolution before it (in
float64), dropout and identities vanish, sizes are constants; the same weights give the same bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn
from torch.nn import functional

from icface.errors import ConfigError

OPSET = 17
"""As for the edge family: ONNX Runtime, OpenVINO and TensorRT all read it."""
IR_VERSION = 8

Array = NDArray[Any]
_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}


class GraphBuilder:
    """Collects nodes and constants; values are known by their names.

    Args:
        fold: put each batch normalisation into the convolution before it; else it is a node of its own.
    """

    def __init__(self, *, fold: bool = True) -> None:
        self.fold = fold
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._makers: dict[str, onnx.NodeProto] = {}

    def node(self, operator_: str, inputs: Sequence[str], output: str = "", **attributes: object) -> str:
        """Add a node with one output; gives that output's name."""
        output = output or f"{operator_.lower()}_{len(self._nodes)}"
        made = helper.make_node(operator_, list(inputs), [output], **attributes)
        self._nodes.append(made)
        self._makers[output] = made
        return output

    def named(self, value: str, name: str) -> str:
        """Give a value the name of an output."""
        if value not in self._makers:  # an input, or named before
            return self.node("Identity", [value], name)
        made = self._makers.pop(value)
        for node in self._nodes:
            node.input[:] = [name if other == value else other for other in node.input]
        made.output[:] = [name]
        return name

    def constant(self, value: Array, name: str = "") -> str:
        """Add a constant; gives its name."""
        name = name or f"constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def convolution(
        self, value: str, weight: Array, bias: Array | None, *, stride: int = 1, padding: int = 0
    ) -> str:
        """A convolution with weights (O, I, k, k), zeros beyond the border."""
        inputs = [value, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        return self.node(
            "Conv", inputs, kernel_shape=weight.shape[2:], strides=[stride] * 2, pads=[padding] * 4
        )

    def reflected(self, value: str, width: int) -> str:
        """`width` pixels more on each side, mirrored about the outermost."""
        pads = self.constant(np.array([0, 0, width, width] * 2, dtype=np.int64))
        return self.node("Pad", [value, pads], mode="reflect")

    def module(self, module: nn.Module, value: str) -> str:
        """Everything that a module computes from one value.

        Raises:
            ConfigError: it uses an operation that this exporter does not know.
        """
        traced = fx.symbolic_trace(module)
        values: dict[fx.Node, str] = {}
        for step in traced.graph.nodes:
            if step.op == "placeholder":
                values[step] = value
            elif step.op == "output":
                return values[step.args[0]]
            elif step.op == "call_module":
                layer = traced.get_submodule(step.target)
                source = step.args[0]
                if isinstance(layer, nn.BatchNorm2d):
                    values[step] = self._normalised(layer, values[source], alone=len(source.users) == 1)
                else:
                    values[step] = _known(_LAYERS, type(layer))(self, layer, values[source])
            else:
                values[step] = _known(_FUNCTIONS, step.target)(self, step, values)
        raise AssertionError("a traced module has an output")

    def _normalised(self, layer: nn.BatchNorm2d, value: str, *, alone: bool) -> str:
        assert layer.running_mean is not None and layer.running_var is not None
        mean, variance = _array(layer.running_mean), _array(layer.running_var)
        gain, shift = _array(layer.weight), _array(layer.bias)
        maker = self._makers.get(value)
        if not (self.fold and alone and maker is not None and maker.op_type in ("Conv", "ConvTranspose")):
            parameters = [self.constant(part) for part in (gain, shift, mean, variance)]
            return self.node("BatchNormalization", [value, *parameters], epsilon=layer.eps)
        scale = gain / np.sqrt(variance + layer.eps)
        weight = self._constants[maker.input[1]]
        outputs_first = maker.op_type == "Conv"
        self._constants[maker.input[1]] = weight * scale.reshape(
            (-1, 1, 1, 1) if outputs_first else (1, -1, 1, 1)
        )
        bias = self._constants[maker.input[2]] if len(maker.input) > 2 else np.zeros_like(mean)
        folded = (bias - mean) * scale + shift
        if len(maker.input) > 2:
            self._constants[maker.input[2]] = folded
        else:
            maker.input.append(self.constant(folded))
        return value

    def model(
        self,
        name: str,
        inputs: dict[str, tuple[str, tuple[int, ...]]],
        outputs: dict[str, tuple[str, tuple[int, ...]]],
    ) -> onnx.ModelProto:
        """The finished graph, checked. Inputs and outputs are given as `name: (type, shape)`."""

        def described(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(key, _TYPES[kind], shape)
                for key, (kind, shape) in tensors.items()
            ]

        constants = {
            key: value.astype(np.float32) if value.dtype == np.float64 else value
            for key, value in self._constants.items()
        }
        graph = helper.make_graph(
            self._nodes,
            name,
            described(inputs),
            described(outputs),
            [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in constants.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="icface-live"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def _array(tensor: torch.Tensor) -> Array:
    """Weights in float64, so that folding loses nothing."""
    return tensor.detach().double().numpy()


def _known(table: dict[Any, Any], key: Any) -> Any:
    if key not in table:
        raise ConfigError(
            f"{getattr(key, '__name__', key)} cannot be exported; add it to export/torch_graph.py"
        )
    return table[key]


def _side(value: float | tuple[float, ...] | str) -> int:
    """A setting that is the same in both directions."""
    sides = value if isinstance(value, tuple) else (value,)
    if len(set(sides)) != 1 or isinstance(sides[0], str):
        raise ConfigError(f"a layer with the setting {value!r} cannot be exported")
    return int(sides[0])


def _convolution(builder: GraphBuilder, layer: nn.Conv2d, value: str) -> str:
    _plain(layer)
    return builder.convolution(
        value,
        _array(layer.weight),
        None if layer.bias is None else _array(layer.bias),
        stride=_side(layer.stride),
        padding=_side(layer.padding),
    )


def _transposed(builder: GraphBuilder, layer: nn.ConvTranspose2d, value: str) -> str:
    _plain(layer)
    inputs = [value, builder.constant(_array(layer.weight))]
    if layer.bias is not None:
        inputs.append(builder.constant(_array(layer.bias)))
    return builder.node(
        "ConvTranspose",
        inputs,
        kernel_shape=layer.kernel_size,
        strides=[_side(layer.stride)] * 2,
        pads=[_side(layer.padding)] * 4,
        output_padding=[_side(layer.output_padding)] * 2,
    )


def _plain(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    if layer.groups != 1 or _side(layer.dilation) != 1 or layer.padding_mode != "zeros":
        raise ConfigError(
            f"{layer} cannot be exported: groups, dilation and padding modes are not known here"
        )


def _largest(builder: GraphBuilder, layer: nn.MaxPool2d, value: str) -> str:
    if layer.return_indices or _side(layer.dilation) != 1:
        raise ConfigError(f"{layer} cannot be exported: indices and dilation are not known here")
    return builder.node("MaxPool", [value], **_window(layer))


def _averaged(builder: GraphBuilder, layer: nn.AvgPool2d, value: str) -> str:
    if layer.divisor_override is not None:
        raise ConfigError(f"{layer} cannot be exported: a divisor of its own is not known here")
    return builder.node(
        "AveragePool", [value], count_include_pad=int(layer.count_include_pad), **_window(layer)
    )


def _window(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, list[int]]:
    if layer.ceil_mode:
        raise ConfigError(f"{layer} cannot be exported: ceil_mode is not known here")
    return {
        "kernel_shape": [_side(layer.kernel_size)] * 2,
        "strides": [_side(layer.stride)] * 2,
        "pads": [_side(layer.padding)] * 4,
    }


def _doubled(builder: GraphBuilder, value: str, scale: float, mode: str) -> str:
    if mode != "nearest":
        raise ConfigError(f"upsampling of mode {mode!r} cannot be exported; nearest is known")
    scales = builder.constant(np.array([1, 1, scale, scale], dtype=np.float32))
    return builder.node(
        "Resize",
        [value, "", scales],
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _upsample(builder: GraphBuilder, layer: nn.Upsample, value: str) -> str:
    return _doubled(builder, value, float(_side(layer.scale_factor)), layer.mode)


def _unary(operator_: str) -> Callable[[GraphBuilder, Any, str], str]:
    return lambda builder, layer, value: builder.node(operator_, [value])


def _same(builder: GraphBuilder, layer: nn.Module, value: str) -> str:
    return value


_LAYERS: dict[type[nn.Module], Callable[[GraphBuilder, Any, str], str]] = {
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    nn.ReflectionPad2d: lambda builder, layer, value: builder.reflected(value, _side(layer.padding)),
    nn.ZeroPad2d: lambda builder, layer, value: builder.node(
        "Pad", [value, builder.constant(np.array([0, 0, *[_side(layer.padding)] * 2] * 2, dtype=np.int64))]
    ),
    nn.MaxPool2d: _largest,
    nn.AvgPool2d: _averaged,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    nn.ReLU: _unary("Relu"),
    nn.Tanh: _unary("Tanh"),
    nn.LeakyReLU: lambda builder, layer, value: builder.node(
        "LeakyRelu", [value], alpha=layer.negative_slope
    ),
    nn.Dropout: _same,
    nn.Dropout2d: _same,
    nn.Identity: _same,
}


def _add(builder: GraphBuilder, step: fx.Node, values: dict[fx.Node, str]) -> str:
    return builder.node("Add", [values[argument] for argument in step.args])


def _relu(builder: GraphBuilder, step: fx.Node, values: dict[fx.Node, str]) -> str:
    return builder.node("Relu", [values[step.args[0]]])


def _joined(builder: GraphBuilder, step: fx.Node, values: dict[fx.Node, str]) -> str:
    axis = step.kwargs.get("dim", step.args[1] if len(step.args) > 1 else 0)
    return builder.node("Concat", [values[argument] for argument in step.args[0]], axis=axis)


def _interpolated(builder: GraphBuilder, step: fx.Node, values: dict[fx.Node, str]) -> str:
    scale = step.kwargs.get("scale_factor")
    if scale is None:
        raise ConfigError("interpolation to a size cannot be exported; by a scale_factor it can")
    return _doubled(builder, values[step.args[0]], float(scale), step.kwargs.get("mode", "nearest"))


_FUNCTIONS: dict[Any, Callable[[GraphBuilder, fx.Node, dict[fx.Node, str]], str]] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    torch.relu: _relu,
    functional.relu: _relu,
    torch.cat: _joined,
    functional.interpolate: _interpolated,
}
