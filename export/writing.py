"""What the exporters write: torch modules as ONNX graphs, with uint8 pixels at both ends, and bundles."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from icface.bundle import FORMAT_VERSION, MANIFEST, Bundle
from icface.bundle_checks import FAMILIES
from icface.errors import BundleError, ConfigError
from icface.files import replacing_folder
from icface.networks.checkpoint import HALF_FROM

OPSET: Final = 18
"""The oldest that torch's exporter writes. ONNX Runtime, OpenVINO, TensorRT and TensorRT-RTX read it."""
LARGEST_PX: Final = 8192
"""Bound of the sizes that vary. The exporter wants one; the graph does not hold it."""
Spec = dict[str, object]


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
    # It also notes torch's version, by which equal graphs would differ from machine to machine.
    model.ClearField("producer_version")
    graph = model.graph
    graph.name = name
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
    for node in graph.node:
        node.ClearField("name")
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def with_weights(graph: Path, network: nn.Module) -> bytes:
    """The content of an ONNX file that holds a network of this shape, with this one's weights.

    Raises:
        ConfigError: the file holds another network.
    """
    model = onnx.load(graph)
    weights = network.state_dict()
    for item in model.graph.initializer:
        weight = weights.pop(item.name.partition("network.")[2], None)
        if weight is None:
            continue
        if tuple(item.dims) != tuple(weight.shape):
            raise ConfigError(f"{graph} holds a network of another shape")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(item.data_type)
        made = np.ascontiguousarray(weight.numpy(), dtype)
        if not np.array_equal(made, weight.numpy()):
            raise ConfigError(f"{graph} cannot hold {item.name} exactly")
        item.raw_data = made.tobytes()
    if weights:
        raise ConfigError(f"{graph} holds another network: it lacks {', '.join(sorted(weights))}")
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


def with_half_weights(graph: bytes) -> bytes:
    """The same graph with those large weights in float16 that lose nothing by it. Engines widen them as they open it."""
    model = onnx.load_from_string(graph)
    casts = []
    for each in model.graph.initializer:
        values = onnx.numpy_helper.to_array(each)
        if values.dtype != np.float32 or values.size < HALF_FROM or not _is_half(values):
            continue
        wide = f"{each.name}.wide"
        for node in model.graph.node:
            node.input[:] = [wide if name == each.name else name for name in node.input]
        each.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), each.name))
        casts.append(onnx.helper.make_node("Cast", [each.name], [wide], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _is_half(values: NDArray[np.float32]) -> bool:
    return bool((values.astype(np.float16).astype(np.float32) == values).all())


def spec(name: str, dtype: str, *shape: int | str) -> Spec:
    """One tensor as the manifest describes it."""
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def write_bundle(out: Path, entries: dict[str, Any], files: dict[str, bytes]) -> Bundle:
    """Write a bundle's folder, and read it back. It takes the place of an older bundle.

    Args:
        entries: the manifest without `format_version` and `files`.
        files: contents by name.

    Raises:
        ConfigError: it cannot be written, or `out` is something else than a bundle.
    """
    out = out.absolute()
    if out.exists() and not _replaceable(out):
        raise ConfigError(f"{out} is there and is no model bundle; give another name for the output")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format_version": FORMAT_VERSION, **entries, "files": hashes}
    try:
        with replacing_folder(out) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            Bundle.load(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot write {out}: {error.strerror or error}; give another name for the output"
        ) from error
    except BundleError as error:
        raise ConfigError(f"what was written does not read back: {error}") from error
    return Bundle.load(out)


class _Manifest(msgspec.Struct):
    """What every bundle's manifest has, of whatever version; other programs' files of that name have not."""

    format_version: int
    family: str


def _replaceable(out: Path) -> bool:
    """Whether it is an empty folder, or a bundle."""
    if not out.is_dir():
        return False
    try:
        return msgspec.json.decode((out / MANIFEST).read_bytes(), type=_Manifest).family in FAMILIES
    except FileNotFoundError:
        return not any(out.iterdir())
    except (OSError, msgspec.DecodeError):
        return False
