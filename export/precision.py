"""Precision in the graph: the types of the ONNX graph are what is computed in, and nothing is left to flags.

A strongly typed graph builds alike on TensorRT 10 and 11 and on TensorRT-RTX, of which the last two know no other way.
Convolutions and what flows between them get the low type. What must not be rounded stays float32:

* pixel positions, that is what a GridSample reads at, and everything that they come from: in half precision the
  middle of a 1024 pixel picture is known to half a pixel. TensorRT wants the picture of one type with the positions, so
  GridSample stays float32 as a whole, and with it all of the edge family's graph;
* what is added up over many values (means, variances, normalisations);
* the ends: from uint8 to the first convolution and from the last one to uint8, and the small product of the
  attributes with their table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import onnx.version_converter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from icface.engines.base import PRECISIONS
from icface.errors import ConfigError

Array = NDArray[Any]

LOW_TYPES: Final = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
BF16_OPSET: Final = 22
"""The first in which convolutions may be bfloat16."""
BF16_IR_VERSION: Final = 10
LARGEST: Final = {"fp16": 65504.0, "bf16": float(np.finfo(np.float32).max)}

CONVOLUTIONS: Final = frozenset({"Conv", "ConvTranspose"})
# Rounding before these gives the same as rounding after: they move values, or choose among them.
_EXACT: Final = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "MaxPool", "Pad", "Relu", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
# These are low where what they work on is: element by element, or a sum of few.
_FOLLOWING: Final = _EXACT | {
    "Abs", "Add", "AveragePool", "Clip", "Gemm", "LeakyRelu", "MatMul", "Max", "Min", "Mul", "Neg", "PRelu",
    "Resize", "Sigmoid", "Sub", "Tanh",
}  # fmt: skip
# What lies between an image in [−1, 1] and a frame. tanh is among it: in bfloat16 its results near 1 are half a level
# of 255 apart.
_TO_PIXELS: Final = frozenset(
    {"Cast", "Ceil", "Clip", "Floor", "Reshape", "Round", "Squeeze", "Tanh", "Transpose", "Unsqueeze"}
)
_SCALING: Final = frozenset({"Add", "Div", "Mul", "Sub"})


class _Input(NamedTuple):
    """One input of a node."""

    node: int
    place: int


def in_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A graph in another precision; its inputs and outputs keep their types.

    One without convolutions has nothing that would be faster, and is float32 in every precision.

    Args:
        model: a graph in float32, not changed.
        precision: `fp32` (only cleaned), `fp16` or `bf16`. A bf16 graph is of opset 22, and has no ConvTranspose:
            TensorRT-RTX has none in bfloat16, so they become convolutions that give the very same.

    Raises:
        ConfigError: the precision is none of these, the graph is not in float32, or a weight is too large.
    """
    if precision not in PRECISIONS or precision == "int8":
        known = "int8 is made by export.quantise" if precision == "int8" else "choose fp32, fp16 or bf16"
        raise ConfigError(f"a graph cannot be put into {precision}: {known}")
    model = cleaned(model)
    check_float32(model)
    if precision == "fp32" or CONVOLUTIONS.isdisjoint(node.op_type for node in model.graph.node):
        return model
    if precision == "bf16":
        _without_transposed(model)
        model = onnx.version_converter.convert_version(model, BF16_OPSET)
        model.ir_version = max(model.ir_version, BF16_IR_VERSION)
        model = cleaned(model)
    made = cleaned(_Lowering(model, precision).model())
    onnx.checker.check_model(made, full_check=True)
    return made


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without what does nothing: identities, dropout, nodes and outputs that nobody reads, unused constants.

    Constants that are nodes become initialisers. Inputs and outputs of the graph stay, read or not.

    Raises:
        ConfigError: it has branches or loops, whose insides are not looked into here.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in graph.node:
        if any(
            each.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for each in node.attribute
        ):
            raise ConfigError(
                f"the graph has {node.op_type}, a branch or loop, which cannot be converted here"
            )
    _constants_as_initialisers(graph)
    _without_the_dead(graph)
    _without_identities(graph)
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    # Shapes of values that are gone, or of other types than they will have.
    del graph.value_info[:]
    return made


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The element type (TensorProto's) of every value and constant."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def bfloat16_bits(values: Array) -> NDArray[np.uint16]:
    """Float32 rounded to bfloat16, to nearest, ties to even; as the upper half of its bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return rounded.astype(np.uint16)


def _replace(field: Any, items: Iterable[Any]) -> None:
    """Give a repeated field of a protocol buffer other items."""
    kept = list(items)
    copies = [type(item)() for item in kept]
    for copy, item in zip(copies, kept, strict=True):
        copy.CopyFrom(item)
    del field[:]
    field.extend(copies)


def _constants_as_initialisers(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        value = next((each for each in node.attribute if each.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            kept.append(node)
            continue
        value.t.name = node.output[0]
        graph.initializer.append(value.t)
    _replace(graph.node, kept)


def _without_the_dead(graph: onnx.GraphProto) -> None:
    """Take out nodes, and last outputs of nodes, that lead to no output of the graph."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.isdisjoint(node.output):
            continue
        while node.output[-1] not in wanted:  # optional ones, as the mask of a dropout
            del node.output[-1]
        wanted.update(name for name in node.input if name)
        kept.append(node)
    _replace(graph.node, reversed(kept))


def _without_identities(graph: onnx.GraphProto) -> None:
    """Take out identities; one between an input, a constant or another output and an output is needed."""
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    instead: dict[str, str] = {}  # value -> what it is the same as
    kept = []
    for node in graph.node:
        source = instead.get(node.input[0], node.input[0]) if node.input else ""
        maker = makers.get(source)
        if not _does_nothing(node):
            kept.append(node)
        elif node.output[0] not in outputs:
            instead[node.output[0]] = source
        elif maker is not None and source not in outputs:
            # The maker gives the output itself.
            place = list(maker.output).index(source)
            maker.output[place] = node.output[0]
            makers[node.output[0]] = maker
            instead = {name: node.output[0] if same == source else same for name, same in instead.items()}
            instead[source] = node.output[0]
        else:
            kept.append(node)
    for node in kept:
        node.input[:] = [instead.get(name, name) for name in node.input]
    _replace(graph.node, kept)


def _does_nothing(node: onnx.NodeProto) -> bool:
    # Dropout with its third input may be one that trains.
    return node.op_type == "Identity" or (
        node.op_type == "Dropout" and len(node.input) < 3 and len(node.output) == 1
    )


def check_float32(model: onnx.ModelProto) -> None:
    """Refuse a graph that is in a precision already.

    Raises:
        ConfigError: with the first value that is of another float type.
    """
    wrong = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    for name, kind in types_of(model).items():
        if kind in wrong:
            raise ConfigError(
                f"{name} is {TensorProto.DataType.Name(kind).lower()} in a graph that should be float32 throughout; "
                "give the graph as it was exported"
            )


def _without_transposed(model: onnx.ModelProto) -> None:
    """Each ConvTranspose that enlarges exactly `stride` times as a convolution and DepthToSpace.

    Pixel s·q + r of the result, in one direction, is a sum over x[q + d] with weights j = r + p − s·d: one small kernel
    for every remainder r. So a convolution makes the s² remainders as channels, and DepthToSpace lays them out. Its
    kernels have zeros where j does not exist (for 3 × 3 and stride 2: 16 products a pixel instead of 9).
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type == "ConvTranspose" else None
        shape = None if weight is None else _enlargement(node, weight.dims)
        if weight is None or shape is None:
            nodes.append(node)
            continue
        stride, before = shape
        kernel, first = subpixel_kernel(numpy_helper.to_array(weight), stride, before)
        name = node.output[0] + "_parts"
        inputs = [node.input[0], name + "_weight"]
        graph.initializer.append(numpy_helper.from_array(kernel, inputs[1]))
        if len(node.input) > 2 and node.input[2]:
            bias = np.repeat(numpy_helper.to_array(constants[node.input[2]]), stride**2)
            inputs.append(name + "_bias")
            graph.initializer.append(numpy_helper.from_array(bias, inputs[2]))
        size = kernel.shape[2]
        pads = [-first] * 2 + [size - 1 + first] * 2
        nodes.append(helper.make_node("Conv", inputs, [name], kernel_shape=[size] * 2, pads=pads))
        nodes.append(helper.make_node("DepthToSpace", [name], [node.output[0]], blocksize=stride, mode="CRD"))
    _replace(graph.node, nodes)


def _enlargement(node: onnx.NodeProto, weight_dims: Iterable[int]) -> tuple[int, int] | None:
    """Stride and padding of a ConvTranspose whose result is `stride` times as large; None for any other."""
    settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    kernel = list(weight_dims)[2:]
    strides = settings.get("strides", [1, 1])
    pads, more = settings.get("pads", [0] * 4), settings.get("output_padding", [0, 0])
    plain = (
        settings.get("group", 1) == 1
        and set(settings.get("dilations", [1])) == {1}
        and settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in settings
    )
    square = len(kernel) == 2 and all(len(set(each)) == 1 for each in (kernel, strides, more, pads))
    if not (plain and square):
        return None
    size, stride, before = kernel[0], strides[0], pads[0]
    exact = size + more[0] - 2 * before == stride and stride - 1 + before < size
    return (stride, before) if exact else None


def subpixel_kernel(weight: Array, stride: int, before: int) -> tuple[Array, int]:
    """The weights (I, O, k, k) of a transposed convolution for `_without_transposed`.

    Returns:
        Weights (O · stride², I, K, K), and the offset d of their first row and column, 0 or less.
    """
    inner, outer, size, _ = weight.shape
    # Which weight j stands at (remainder r, offset d).
    at = {(j, (j - before) % stride): (((j - before) % stride) + before - j) // stride for j in range(size)}
    first, last = min(0, *at.values()), max(0, *at.values())
    width = last - first + 1
    kernel = np.zeros((outer, stride, stride, inner, width, width), dtype=weight.dtype)
    for (j, row), down in at.items():
        for (i, column), right in at.items():
            kernel[:, row, column, :, down - first, right - first] = weight[:, :, j, i].T
    return kernel.reshape(outer * stride**2, inner, width, width), first


class _Lowering:
    """Gives the nodes of a clean float32 graph their types, and puts casts where types meet."""

    def __init__(self, model: onnx.ModelProto, precision: str) -> None:
        self._source = model
        self._precision = precision
        self._low = LOW_TYPES[precision]
        self._types = types_of(model)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
        self._users: dict[str, list[_Input]] = {}
        for i, node in enumerate(model.graph.node):
            for place, name in enumerate(node.input):
                self._users.setdefault(name, []).append(_Input(i, place))
        self._outputs = {value.name for value in model.graph.output}
        self._low_nodes = self._choose()
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[tuple[str, int], str] = {}  # (value, type) -> its name in that type

    def model(self) -> onnx.ModelProto:
        """The graph with casts."""
        made = onnx.ModelProto()
        made.CopyFrom(self._source)
        for i, node in enumerate(self._source.graph.node):
            self._add(i, node)
        _replace(made.graph.node, self._nodes)
        converted = [
            self._converted(self._constants[name], new)
            for (name, kind), new in self._made.items()
            if name in self._constants and kind == self._low
        ]
        low_names = {tensor.name for tensor in converted}
        kept = [tensor for tensor in made.graph.initializer if tensor.name not in low_names]
        _replace(made.graph.initializer, [*kept, *converted])
        return made

    def _choose(self) -> set[int]:
        """Numbers of the nodes that compute in the low type."""
        nodes = self._source.graph.node
        exempt = self._grids() | self._to_pixels()
        low: set[int] = set()
        for i, node in enumerate(nodes):
            if i in exempt or not self._is_float(node) or not self._runs_low(node):
                continue
            after_low = any(self._makers.get(name) in low for name in node.input)
            if node.op_type in CONVOLUTIONS or (node.op_type in _FOLLOWING and after_low):
                low.add(i)
        # What only brings values to where they are wanted low may bring them low.
        for i in reversed(range(len(nodes))):
            users = [user.node for name in nodes[i].output for user in self._users.get(name, [])]
            if (
                i not in low | exempt
                and nodes[i].op_type in _EXACT
                and self._is_float(nodes[i])
                and self._outputs.isdisjoint(nodes[i].output)
                and users
                and low.issuperset(users)
            ):
                low.add(i)
        return low

    def _is_float(self, node: onnx.NodeProto) -> bool:
        return self._types.get(node.output[0]) == TensorProto.FLOAT

    def _runs_low(self, node: onnx.NodeProto) -> bool:
        """Myelin, in TensorRT-RTX 1.7, has no transposed convolution in bfloat16."""
        return not (self._precision == "bf16" and node.op_type == "ConvTranspose")

    def _grids(self) -> set[int]:
        """Every GridSample and what its positions come from."""
        nodes = self._source.graph.node
        found = {i for i, node in enumerate(nodes) if node.op_type == "GridSample"}
        waiting = [nodes[i].input[1] for i in found]
        while waiting:
            maker = self._makers.get(waiting.pop())
            if maker is not None and maker not in found:
                found.add(maker)
                waiting.extend(nodes[maker].input)
        return found

    def _to_pixels(self) -> set[int]:
        """What leads from an image to outputs that are no floats."""
        nodes = self._source.graph.node
        found: set[int] = set()
        waiting = [name for name in self._outputs if self._types[name] != TensorProto.FLOAT]
        while waiting:
            maker = self._makers.get(waiting.pop())
            if maker is None:
                continue
            node = nodes[maker]
            values = [name for name in node.input if name and name not in self._constants]
            scaling = node.op_type in _SCALING and len(values) == 1
            if scaling or node.op_type in _TO_PIXELS:
                found.add(maker)
                waiting.extend(values)
        return found

    def _add(self, number: int, node: onnx.NodeProto) -> None:
        low = number in self._low_nodes
        made = onnx.NodeProto()
        made.CopyFrom(node)
        made.input[:] = [self._wanted(node, place, name, low) for place, name in enumerate(node.input)]
        self._nodes.append(made)
        if not low:
            return
        for place, name in enumerate(node.output):
            if self._types.get(name) != TensorProto.FLOAT:
                continue
            self._types[name] = self._low
            if name in self._outputs:  # which keep their types
                made.output[place] = self._new_name(name, self._low)
                self._made[name, self._low] = made.output[place]
                self._made[name, TensorProto.FLOAT] = name
                self._nodes.append(
                    helper.make_node("Cast", [made.output[place]], [name], to=TensorProto.FLOAT)
                )

    def _wanted(self, node: onnx.NodeProto, place: int, name: str, low: bool) -> str:
        """An input's name in the type that the node is to see."""
        kind = self._types.get(name)
        if kind not in (TensorProto.FLOAT, self._low):
            return name
        if node.op_type == "Cast":  # takes any type
            return self._made.get((name, kind), name)
        return self._as(name, self._low if low and not _always_float32(node, place) else TensorProto.FLOAT)

    def _reads_low(self, user: _Input) -> bool:
        return user.node in self._low_nodes and not _always_float32(
            self._source.graph.node[user.node], user.place
        )

    def _as(self, name: str, kind: int) -> str:
        if (name, kind) in self._made:
            return self._made[name, kind]
        if self._types[name] == kind:
            return name
        if name in self._constants:
            # A constant that float32 nodes read as well is there twice.
            shared = not all(self._reads_low(user) for user in self._users[name])
            self._made[name, kind] = self._new_name(name, kind) if shared else name
            return self._made[name, kind]
        source, maker = name, self._makers.get(name)
        if maker is not None and self._source.graph.node[maker].op_type == "Cast":
            origin = self._source.graph.node[maker].input[0]
            # Pixels are whole numbers up to 255, which every type holds: cast once, not twice.
            if self._types[origin] == TensorProto.UINT8:
                source = origin
        self._made[name, kind] = self._new_name(name, kind)
        self._nodes.append(helper.make_node("Cast", [source], [self._made[name, kind]], to=kind))
        return self._made[name, kind]

    def _new_name(self, name: str, kind: int) -> str:
        new = f"{name}_{'fp32' if kind == TensorProto.FLOAT else self._precision}"
        while new in self._types:
            new += "_"
        return new

    def _converted(self, tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
        """A constant in the low type.

        In fp16, values below 2⁻¹⁴ keep fewer digits and those below 2⁻²⁵ become zero: at most 3e-8 each, which a sum of
        products in this type cannot show.
        """
        values = numpy_helper.to_array(tensor)
        largest = float(np.abs(values).max(initial=0.0))
        if not largest <= LARGEST[self._precision]:  # not a number, too
            raise ConfigError(
                f"{tensor.name} has the value {largest:g}, and {self._precision} holds at most "
                f"{LARGEST[self._precision]:g}; build with --precision "
                f"{'bf16 or fp32' if self._precision == 'fp16' and np.isfinite(largest) else 'fp32'}"
            )
        if self._low == TensorProto.FLOAT16:
            return numpy_helper.from_array(values.astype(np.float16), name)
        # numpy has no bfloat16, and onnx before 1.18 no way to make one from an array.
        raw = bfloat16_bits(values).astype("<u2").tobytes()
        return TensorProto(data_type=self._low, dims=values.shape, raw_data=raw, name=name)


def _always_float32(node: onnx.NodeProto, place: int) -> bool:
    """Whether an input is float32 in every precision: the region and the scales of a Resize."""
    return node.op_type == "Resize" and place in (1, 2)
