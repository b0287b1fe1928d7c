"""What an ONNX graph of a bundle may be. It is looked at before any engine reads it.

Engines read other files, load libraries and take what memory a graph asks for. So a graph that could make them do so is
refused: data in other files, operators of others' domains, graphs inside operators (a loop may never end), functions,
tensors without their data, and tensors larger than any model here has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

MAX_GRAPH_BYTES: Final = 500_000_000
MAX_FIELDS: Final = 200_000
"""Entries of a graph's file, the numbers inside of weights not counted. The graphs that ship have 10,000. Each entry may
take two bytes of the file and a hundred of memory."""
MAX_DEPTH: Final = 32
"""Entries inside of entries. Graphs without graphs in their operators have 8."""
MAX_ELEMENTS: Final = 2**28
"""Of one tensor: a gigabyte in float32. A picture of 4096 × 4096 pixels has 2**26 numbers."""

_DOMAINS: Final = ("", "ai.onnx")
_ITEM_BYTES: Final = {
    "FLOAT": 4, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "INT32": 4, "INT64": 8, "BOOL": 1, "FLOAT16": 2,
    "DOUBLE": 8, "UINT32": 4, "UINT64": 8, "BFLOAT16": 2,
}  # fmt: skip
_TYPED: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_graph(content: bytes) -> None:
    """Raise ValueError, with what is wrong in a few words, where no engine may read this ONNX file."""
    if len(content) > MAX_GRAPH_BYTES:
        raise ValueError(f"is larger than {MAX_GRAPH_BYTES / 1e6:.0f} MB")
    # Imported here, as it takes a quarter of a second, and the model that ships is not looked at.
    import onnx
    from google.protobuf.message import DecodeError

    if _fields(memoryview(content), onnx.ModelProto.DESCRIPTOR, MAX_FIELDS, 0) > MAX_FIELDS:
        raise ValueError(f"has more than {MAX_FIELDS} entries")
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ValueError("is no ONNX graph") from error
    for problem in _problems(model, onnx):
        raise ValueError(problem)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ValueError("has shapes that do not fit together") from error
    for info in (*inferred.graph.value_info, *inferred.graph.output):
        for problem in _info_problems(info):
            raise ValueError(problem)


def _fields(data: memoryview, kind: Any, most: int, depth: int) -> int:
    """How many entries a message of that kind has, with those inside of it; counting stops above `most`.

    It needs no memory, while reading the file for good would take up to fifty times the file's size.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"has more than {MAX_DEPTH} entries inside of each other")
    at = count = 0
    while at < len(data) and count <= most:
        tag, at = _varint(data, at)
        count += 1
        wire = tag & 7
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        elif wire == _BYTES:
            length, at = _varint(data, at)
            field = kind.fields_by_number.get(tag >> 3)
            if field is not None and field.message_type is not None:
                count += _fields(data[at : at + length], field.message_type, most - count, depth + 1)
            at += length
        else:
            raise ValueError("is no ONNX graph")
    if at > len(data):
        raise ValueError("is cut short")
    return count


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("is cut short")
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("is no ONNX graph")


def _problems(model: Any, onnx: Any) -> Iterator[str]:
    graph = model.graph
    if not graph.node:
        yield "is no ONNX graph"
    if model.functions or model.training_info:
        yield "has functions of its own, which no model here needs"
    domains = [each.domain for each in model.opset_import]
    for domain, what in [(each, "an operator set") for each in domains] + [
        (node.domain, f"the operator {node.op_type[:60]!r}") for node in graph.node
    ]:
        if domain not in _DOMAINS:
            yield f"asks for {what} of {domain[:60]!r}, while only ONNX's own operators are run"
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.graphs or attribute.HasField("g"):
                yield f"has a graph inside the operator {node.op_type[:60]!r}, which no model here needs"
    for tensor in _tensors(graph):
        yield from _tensor_problems(tensor, onnx)
    if any(
        attribute.HasField("sparse_tensor") or attribute.sparse_tensors for attribute in _attributes(graph)
    ):
        yield "has sparse tensors, which no model here needs"
    if graph.sparse_initializer:
        yield "has sparse tensors, which no model here needs"
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield from _info_problems(info)


def _attributes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield from node.attribute


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for attribute in _attributes(graph):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def _tensor_problems(tensor: Any, onnx: Any) -> Iterator[str]:
    """What is wrong with a constant. Its data has to be there, all of it and no more."""
    name = repr(tensor.name[:60])
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        yield f"takes the tensor {name} from another file"
    known = onnx.TensorProto.DataType.values()
    kind = onnx.TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in known else ""
    if kind not in _ITEM_BYTES:
        yield f"has the tensor {name} of a type that no model here has"
        return
    yield from _size_problems(name, tensor.dims)
    count = math.prod(tensor.dims)
    given = (
        len(tensor.raw_data) / _ITEM_BYTES[kind]
        if tensor.raw_data
        else sum(len(getattr(tensor, data)) for data in _TYPED)
    )
    if given != count:
        yield f"states {count} numbers for the tensor {name} and has {given:g}"


def _info_problems(info: Any) -> Iterator[str]:
    name, kind = repr(info.name[:60]), info.type.WhichOneof("value")
    if kind not in (None, "tensor_type"):
        yield f"has {name}, which is no tensor"
    elif kind is not None:
        yield from _size_problems(name, (each.dim_value for each in info.type.tensor_type.shape.dim))


def _size_problems(name: str, sizes: Iterable[int]) -> Iterator[str]:
    """Of a shape. A size that varies is 0 here, as protobuf gives it."""
    sizes = list(sizes)
    if any(size < 0 for size in sizes):
        yield f"has the tensor {name} with a negative size"
    elif math.prod(size for size in sizes if size) > MAX_ELEMENTS:
        yield f"has the tensor {name} of more than {MAX_ELEMENTS:,} numbers"
