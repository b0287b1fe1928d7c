"""A model on disk: a folder with manifest.json, ONNX graphs and a golden frame, every file under its hash.

docs/bundle.md describes the format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from icface.errors import BundleError

FORMAT_VERSION: Final = 1
FAMILIES: Final = tuple(
    sorted(path.stem for path in (Path(__file__).parent / "families").glob("*.py") if path.stem != "__init__")
)
"""Those that this version has host code for: the modules of `icface/families/`."""
ATTRIBUTE_SCALES: Final = ("full-shape", "openface")
MANIFEST: Final = "manifest.json"
WARPED: Final = "warped"
"""What the graph of a host variant calls the frame that it corrects."""
DEFAULT_BUNDLE: Final = Path(__file__).parent / "models" / "edge.icface"
"""The generator that ships."""

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")

Tensors = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a step."""

    name: str
    dtype: str
    """NumPy's name, as `uint8`."""
    shape: tuple[int | str, ...]
    """Sizes; a name stands for one that varies, and for the same number wherever it occurs."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A step that an engine runs: one way to make a frame, or the neutralising of a photo."""

    graph: str | None
    """ONNX file; None where the host does everything."""
    cache: tuple[TensorSpec, ...]
    """What is set once a source; nothing where the step itself is done once a source."""
    motion: tuple[TensorSpec, ...]
    """What changes from run to run."""
    outputs: tuple[TensorSpec, ...]
    graph_fp16: str | None = None
    """ONNX file of the same step in half precision, with the same inputs and outputs; None where there is none."""
    graph_inputs: tuple[str, ...] = ()
    """Of the host variant: what its graph takes of `cache` and `motion`, besides `warped`."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.cache + self.motion


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checked model."""

    path: Path
    family: str
    name: str
    size_px: int | None
    """Side of the frames it makes; None: any."""
    attribute_scale: str
    """`full-shape` or `openface`."""
    alignment: str
    """How the source is cropped, in words."""
    motion: str | None
    """The host code that turns attributes into motion tensors; None: the graph takes the attributes themselves."""
    neutralise: Variant | None
    """From the crop of a photo to the cache tensors, by a graph; None: the family's host code makes them."""
    graph: Variant
    """The whole frame by a graph: for GPUs, and any engine."""
    host: Variant | None
    """The warp on the host: for CPUs; its graph is what remains to be done, if anything."""
    golden: str
    """A safetensors file: inputs of every step and the outputs they must give."""
    licence: str
    provenance: str
    """What it was made from."""
    sha256: str
    """Digest of the manifest, which holds the digests of all files."""
    hashes: Mapping[str, str]
    """Digest of every other file, by its name inside the folder."""

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read and check a bundle.

        Raises:
            BundleError: missing, damaged, tampered with, or made for another version.
        """
        manifest_path = path / MANIFEST
        if not manifest_path.is_file():
            raise BundleError(f"{path} is not a model bundle: a folder with {MANIFEST} is expected")
        try:
            content = manifest_path.read_bytes()
            raw = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"cannot read {manifest_path}: {error}") from error
        try:
            bundle = _from_manifest(path, raw, hashlib.sha256(content).hexdigest())
        except _ManifestError as error:
            raise BundleError(f"{manifest_path}: {error}") from error
        for name, expected in bundle.hashes.items():
            _check_file(path, name, expected)
        return bundle

    @property
    def corrector(self) -> Variant | None:
        """What is left for a graph after the host's warp: the warped frame to the frame. None where nothing is."""
        if self.host is None or self.host.graph is None:
            return None
        (frame,) = self.host.outputs
        wanted = self.host.graph_inputs
        return Variant(
            graph=self.host.graph,
            cache=tuple(spec for spec in self.host.cache if spec.name in wanted),
            motion=(
                TensorSpec(name=WARPED, dtype=frame.dtype, shape=frame.shape),
                *(spec for spec in self.host.motion if spec.name in wanted),
            ),
            outputs=self.host.outputs,
        )

    def file(self, name: str) -> Path:
        """Path of a listed file."""
        return self.path / name

    def golden_tensors(self) -> Tensors:
        """The golden inputs and outputs of all steps.

        Raises:
            BundleError: the file is not one of safetensors, or lacks a tensor.
        """
        path = self.file(self.golden)
        try:
            tensors = dict(load(path.read_bytes()))
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"cannot read {path}: {error}") from error
        steps = [step for step in (self.neutralise, self.graph, self.host) if step is not None]
        wanted = dict.fromkeys(spec.name for step in steps for spec in (*step.inputs, *step.outputs))
        missing = [name for name in wanted if name not in tensors]
        if missing:
            raise BundleError(f"{path} lacks {', '.join(missing)}")
        return tensors


def _check_file(folder: Path, name: str, expected: str) -> None:
    try:
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{folder} lacks {name} ({error.strerror}); install the bundle again") from error
    if found != expected:
        raise BundleError(
            f"{folder / name} is not the file that {MANIFEST} names (changed or damaged); "
            "install the bundle again"
        )


class _ManifestError(Exception):
    """What is wrong with a manifest, without its path."""


class _Section:
    """A JSON object whose entries are asked for by type."""

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, dict):
            raise _ManifestError(f"{where} should be an object")
        self._raw = raw
        self._where = where

    def value(self, key: str, kinds: type | tuple[type, ...], what: str) -> Any:
        if key not in self._raw:
            raise _ManifestError(f"{self._where} lacks {key!r}")
        value = self._raw[key]
        # JSON's true is an int to Python.
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _ManifestError(f"{key!r} in {self._where} should be {what}")
        return value

    def has(self, key: str) -> bool:
        return key in self._raw

    def text(self, key: str) -> str:
        value: str = self.value(key, str, "text")
        return value

    def optional_text(self, key: str) -> str | None:
        value: str | None = self.value(key, (str, type(None)), "text or null")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in choices:
            raise _ManifestError(f"{key} {value!r} is unknown; known: {', '.join(choices)}")
        return value

    def entries(self, key: str) -> list[Any]:
        value: list[Any] = self.value(key, list, "a list")
        return value

    def section(self, key: str) -> _Section:
        return _Section(self.value(key, dict, "an object"), f"{key!r}")

    def optional_section(self, key: str) -> _Section | None:
        return None if self.value(key, (dict, type(None)), "an object or null") is None else self.section(key)

    def items(self) -> list[tuple[str, Any]]:
        return list(self._raw.items())


def _from_manifest(path: Path, raw: Any, digest: str) -> Bundle:
    top = _Section(raw, "the manifest")
    version: int = top.value("format_version", int, "a whole number")
    if version != FORMAT_VERSION:
        remedy = "upgrade icface-live" if version > FORMAT_VERSION else "get a newer bundle"
        raise _ManifestError(f"format {version}, while this program reads {FORMAT_VERSION}; {remedy}")
    size_px: int | None = top.value("size_px", (int, type(None)), "a whole number or null")
    neutralise = top.optional_section("neutralise")
    variants = top.section("variants")
    host = variants.optional_section("host")
    bundle = Bundle(
        path=path,
        family=top.choice("family", FAMILIES),
        name=top.text("name"),
        size_px=size_px,
        attribute_scale=top.choice("attribute_scale", ATTRIBUTE_SCALES),
        alignment=top.text("alignment"),
        motion=top.optional_text("motion"),
        neutralise=None if neutralise is None else _neutralise(neutralise),
        graph=_graph_variant(variants.section("graph")),
        host=None if host is None else _host_variant(host),
        golden=top.text("golden"),
        licence=top.text("licence"),
        provenance=top.text("provenance"),
        sha256=digest,
        hashes=_hashes(top.section("files")),
    )
    if size_px is not None and size_px < 1:
        raise _ManifestError(f"'size_px' in the manifest should be positive, not {size_px}")
    steps = [step for step in (bundle.neutralise, bundle.graph, bundle.host) if step is not None]
    for name in (bundle.golden, *(step.graph for step in steps), bundle.graph.graph_fp16):
        if name is not None and name not in bundle.hashes:
            raise _ManifestError(f"'files' gives no hash for {name}")
    for step in (bundle.graph, bundle.host):
        if step is not None and [spec.name for spec in step.outputs] != ["frame"]:
            raise _ManifestError("'outputs' of a variant should be one tensor, 'frame'")
    if bundle.neutralise is not None:
        _check_neutralise(bundle.neutralise, bundle.graph)
    return bundle


def _neutralise(section: _Section) -> Variant:
    return Variant(
        graph=section.text("graph"),
        cache=(),
        motion=_specs(section, "inputs"),
        outputs=_specs(section, "outputs"),
    )


def _check_neutralise(neutralise: Variant, animate: Variant) -> None:
    """What one step gives is what the next one takes."""
    given = {spec.name: spec for spec in neutralise.outputs}
    if "neutral" not in given:
        raise _ManifestError("'outputs' of 'neutralise' lacks 'neutral'")
    for spec in animate.cache:
        if given.get(spec.name) != spec:
            raise _ManifestError(f"'neutralise' does not give {spec.name} as the graph variant takes it")


def _hashes(files: _Section) -> dict[str, str]:
    for name, digest in files.items():
        # Also keeps a manifest from naming what lies outside its folder.
        if not _FILE_NAME.fullmatch(name):
            raise _ManifestError(f"{name!r} is not the name of a file inside the bundle")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise _ManifestError(f"the hash of {name} is not a sha256 in hexadecimal")
    return dict(files.items())


def _variant(section: _Section) -> Variant:
    return Variant(
        graph=section.optional_text("graph"),
        cache=_specs(section, "cache"),
        motion=_specs(section, "motion"),
        outputs=_specs(section, "outputs"),
    )


def _graph_variant(section: _Section) -> Variant:
    """Bundles of older versions lack the entry for half precision."""
    half = section.optional_text("graph_fp16") if section.has("graph_fp16") else None
    return replace(_variant(section), graph_fp16=half)


def _host_variant(section: _Section) -> Variant:
    variant = _variant(section)
    if variant.graph is None:
        return variant
    names = section.entries("graph_inputs")
    known = {spec.name for spec in variant.inputs}
    for name in names:
        if name not in known:
            raise _ManifestError(f"'graph_inputs' names {name!r}, which is no tensor of the host variant")
    return replace(variant, graph_inputs=tuple(names))


def _specs(section: _Section, key: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(_Section(item, f"an entry of {key!r}")) for item in section.entries(key))


def _spec(section: _Section) -> TensorSpec:
    name, dtype, shape = section.text("name"), section.text("dtype"), section.entries("shape")
    try:
        np.dtype(dtype)
    except TypeError as error:
        raise _ManifestError(f"{name} has the unknown type {dtype!r}") from error
    if not all(isinstance(size, str) or (type(size) is int and size > 0) for size in shape):
        raise _ManifestError(f"the shape of {name} should be positive numbers and names")
    return TensorSpec(name=name, dtype=dtype, shape=tuple(shape))
