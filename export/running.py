"""Graphs run in ONNX Runtime on the CPU: the judge of what other libraries are to compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.precision import LOW_TYPES, types_of
from icface.arrays import Frame, Tensors
from icface.engines.backends.onnxruntime import PROVIDERS, open_session


def session_of(model: onnx.ModelProto) -> Any:
    """An `onnxruntime.InferenceSession` of a graph.

    Raises:
        EngineError: ONNX Runtime is missing, or refuses the graph.
    """
    return open_session(model.SerializeToString(), "the graph", PROVIDERS["cpu"], threads=0)


class Runner:
    """Runs a graph that makes frames in ONNX Runtime on the CPU, in the precision of its types.

    Raises:
        EngineError: ONNX Runtime is missing, or refuses the graph.
    """

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._inputs = [value.name for value in graph.graph.input]
        self._session = session_of(emulated(graph))

    def frame(self, feeds: Tensors) -> Frame:
        """(H, W, 3), the caller's own; tensors that the graph does not take are left out."""
        (frame,) = self._session.run(["frame"], {name: feeds[name] for name in self._inputs})
        return np.asarray(frame, dtype=np.uint8)


def emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with half-precision types as one in float32 that gives what a GPU gives.

    ONNX Runtime has no bfloat16 convolutions for CPUs, and where it lacks a kernel in float16 it goes on in float32 and
    rounds less often. Here every result is rounded to the type that the graph states; sums inside an operation are
    float32's, as in a tensor core. A graph that has no such types is given back itself.
    """
    types = types_of(model)
    low = set(LOW_TYPES.values())
    if low.isdisjoint(types.values()):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    nodes: list[onnx.NodeProto] = []

    def rounded(exact: str, name: str) -> None:
        nodes.append(helper.make_node("Cast", [exact], [name + "_rounded"], to=types[name]))
        nodes.append(helper.make_node("Cast", [name + "_rounded"], [name], to=TensorProto.FLOAT))

    for node in model.graph.node:
        lowered = [name for name in node.output if types.get(name) in low]
        if node.op_type == "Cast" and lowered:
            rounded(node.input[0], node.output[0])
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.output[:] = [name + "_exact" if name in lowered else name for name in node.output]
        nodes.append(copy)
        for name in lowered:
            rounded(name + "_exact", name)
    del graph.node[:]
    graph.node.extend(nodes)
    for tensor in graph.initializer:
        if tensor.data_type in low:
            tensor.CopyFrom(numpy_helper.from_array(widened(tensor), tensor.name))
    return made


def widened(tensor: onnx.TensorProto) -> NDArray[np.float32]:
    """The values of a constant in half precision; exact."""
    # onnx gives bfloat16 in a type of its own, and not the same one in every version.
    if tensor.data_type == TensorProto.BFLOAT16:
        bits = np.frombuffer(tensor.raw_data, dtype="<u2").astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32).reshape(tuple(tensor.dims))
    return numpy_helper.to_array(tensor).astype(np.float32)
