"""What `icface/engines/building.py` asks of export: goes when precision, parity and samples lie in `icface/engines/`."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from google.protobuf.message import DecodeError

from export.parity import ParityReport
from export.parity import gate as gate_models
from export.precision import in_precision
from export.quantise import quantised
from export.samples import Samples, collect
from icface.bundle import Bundle
from icface.engines.base import check_graph, graph_step
from icface.errors import BundleError, EngineError

__all__ = ["ParityReport", "Samples", "collect", "gate", "graph_for"]


def graph_for(bundle: Bundle, precision: str, samples: Callable[[], Samples]) -> bytes:
    """The graph that makes a bundle's frames in a precision; for bf16 that of fp32."""
    reference = load_graph(bundle)
    if precision == "int8":
        return bytes(quantised(reference, samples().calibration()).SerializeToString())
    return bytes(in_precision(reference, "fp32" if precision == "bf16" else precision).SerializeToString())


def gate(bundle: Bundle, graph: bytes, precision: str, samples: Samples) -> ParityReport:
    """Compare a graph's frames with those of float32."""
    reference = load_graph(bundle)
    model = in_precision(reference, "bf16") if precision == "bf16" else onnx.load_from_string(graph)
    return gate_models(bundle, reference, model, precision, samples)


def load_graph(bundle: Bundle) -> onnx.ModelProto:
    """The graph that makes a bundle's frames, checked."""
    step, path = graph_step(bundle, "animate")
    try:
        model = onnx.load_from_string(path.read_bytes())
        onnx.checker.check_model(model)
        inputs, outputs = ([item.name for item in items] for items in (model.graph.input, model.graph.output))
        check_graph(step, bundle, inputs, outputs)
    except (OSError, DecodeError, onnx.checker.ValidationError, EngineError) as error:
        raise BundleError(f"{path} is not a graph that can be built: {error}") from error
    return model
