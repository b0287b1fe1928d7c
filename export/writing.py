"""torch modules as ONNX graphs, written by `torch.onnx.export`."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import onnx
import torch
from torch import Tensor, nn

OPSET: Final = 18
"""The oldest that torch's exporter writes. ONNX Runtime, OpenVINO, TensorRT and TensorRT-RTX read it."""
LARGEST_PX: Final = 8192
"""Bound of the sizes that vary. The exporter wants one; the graph does not hold it."""


def written(
    module: nn.Module,
    name: str,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    shapes: dict[str, tuple[int | str, ...]] | None = None,
) -> bytes:
    """The graph of a module as the content of an ONNX file. The same module gives the same bytes.

    Args:
        module: takes `inputs` by the names of its arguments.
        name: of the graph.
        inputs: examples of the right type and size; their values do not matter.
        outputs: names of what the module gives.
        shapes: for each input its sizes, with a word for each that varies; None for a graph of fixed sizes.
    """
    sizes = None if shapes is None else {key: _varying(shape) for key, shape in shapes.items()}
    with _quiet():
        program = torch.onnx.export(
            module.eval().requires_grad_(False),
            kwargs=inputs,
            output_names=outputs,
            dynamic_shapes=sizes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # The exporter notes where in the source each value comes from, with paths of this machine. Without a name, libraries
    # call a node by its number.
    graph = model.graph
    graph.name = name
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
    for node in graph.node:
        node.ClearField("name")
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _varying(shape: tuple[int | str, ...]) -> dict[int, torch.export.Dim]:
    """The places of a shape that vary."""
    return {
        place: torch.export.Dim(size, min=2, max=LARGEST_PX)
        for place, size in enumerate(shape)
        if isinstance(size, str)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter tells about itself: operators that it skips, deprecated calls inside torch."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
