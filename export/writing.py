"""torch modules as ONNX graphs, written by `torch.onnx.export`, and both ends of them: from uint8 pixels to float32
planes, and back."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

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
        inputs: examples of the right type and size, by the names of the module's arguments; the values do not matter.
        shapes: for each input its sizes, with a word for each that varies; None for a graph of fixed sizes.
    """
    sizes = {
        key: {i: Dim(size, min=2, max=LARGEST_PX) for i, size in enumerate(shape) if isinstance(size, str)}
        for key, shape in (shapes or {}).items()
    }
    with _quiet():
        program = torch.onnx.export(
            module.eval().requires_grad_(False),
            kwargs=inputs,
            output_names=outputs,
            dynamic_shapes=sizes or None,
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


def planes_of(picture: Tensor) -> Tensor:
    """(1, 3, H, W) float32 in 0 … 255 of a picture (H, W, 3) uint8."""
    # TensorRT knows uint8 at the ends alone, so the cast comes first.
    return picture.float().permute(2, 0, 1)[None]


def rounded(levels: Tensor) -> Tensor:
    """(1, 3, H, W) levels as whole numbers in 0 … 255, still floats; a half is rounded up."""
    return (levels + 0.5).floor().clamp(0, 255)


def frame_of(levels: Tensor) -> Tensor:
    """(H, W, 3) uint8 RGB of levels (1, 3, H, W), rounded."""
    return rounded(levels)[0].permute(1, 2, 0).byte()
