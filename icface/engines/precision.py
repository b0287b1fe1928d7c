"""Which graph of a bundle serves a precision.

A graph's own types are what is computed in, and nothing is left to flags: TensorRT 11 and TensorRT-RTX are strongly
typed. What must not be rounded is float32 in every graph: pixel positions, the ends from and to uint8, and the product
of the attributes (`export/paper_graph.py`).

* fp32: the bundle's graph.
* fp16: the bundle's second graph, written in half precision. A graph without convolutions is float32 as a whole.
* bf16: the graph of fp32. OpenVINO computes its convolutions in bfloat16 when it is told to.
* int8: made here from the graph of fp32, on samples (`icface/engines/quantise.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from icface.bundle import Bundle
from icface.engines.base import check_graph, graph_variant
from icface.engines.quantise import quantised
from icface.engines.samples import Samples
from icface.errors import BundleError, ConfigError, EngineError


def graph_for(bundle: Bundle, precision: str, samples: Callable[[], Samples]) -> bytes:
    """The graph that makes a bundle's frames in a precision, as an ONNX file.

    Args:
        bundle: the model.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        samples: gives what the model sees; called for int8 alone.

    Raises:
        ConfigError: there is no such precision, the bundle has no graph in half precision, or no convolution to quantise.
        BundleError: a graph is no ONNX, or not what the manifest says.
        EngineError: ONNX Runtime is missing, or refuses the graph.
    """
    variant, path = graph_variant(bundle, "animate")
    content = checked(bundle, path)
    if precision in ("fp32", "bf16"):
        return content
    if precision == "int8":
        return quantised(content, list(samples().feeds()))
    if precision != "fp16":
        raise ConfigError(f"there is no precision {precision!r}; choose fp32, fp16, bf16 or int8")
    if variant.graph_fp16 is not None:
        return checked(bundle, bundle.file(variant.graph_fp16))
    if has_convolutions(content):
        raise ConfigError(
            f"{bundle.name} has no graph in half precision; pack the model again with this version, or choose fp32"
        )
    return content


def has_convolutions(graph: bytes) -> bool:
    """Whether a lower precision would change anything."""
    return any(node.op_type in ("Conv", "ConvTranspose") for node in onnx.load_from_string(graph).graph.node)


def checked(bundle: Bundle, path: Path) -> bytes:
    """The content of a graph that makes a bundle's frames.

    Raises:
        BundleError: it is no ONNX, or not what the manifest says.
    """
    variant, _ = graph_variant(bundle, "animate")
    try:
        content = path.read_bytes()
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model)
        inputs, outputs = ([item.name for item in items] for items in (model.graph.input, model.graph.output))
        check_graph(variant, bundle, inputs, outputs)
    except (OSError, DecodeError, onnx.checker.ValidationError, EngineError) as error:
        raise BundleError(f"{path} is not a graph that can be built: {error}") from error
    return content
