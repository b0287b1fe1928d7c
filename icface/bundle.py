"""A model on disk: a folder with manifest.json, ONNX graphs and a golden frame. The manifest has every file's hash.

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
from safetensors import SafetensorError
from safetensors.numpy import load

from icface.arrays import Tensors
from icface.errors import BundleError

FORMAT_VERSION: Final = 1
FAMILIES: Final = tuple(
    sorted(path.stem for path in (Path(__file__).parent / "families").glob("*.py") if path.stem != "__init__")
)
"""The families that this version has host code for: the modules of `icface/families/`."""
ATTRIBUTE_SCALES: Final = ("full-shape", "openface")
MANIFEST: Final = "manifest.json"
WARPED: Final = "warped"
"""The name by which a host variant's graph takes the frame that it corrects."""
DEFAULT_BUNDLE: Final = Path(__file__).parent / "models" / "edge.icface"
"""The generator that ships."""

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a variant."""

    name: str
    dtype: str
    """NumPy's name, as `uint8`."""
    shape: tuple[int | str, ...]
    """Sizes. A name stands for a size that varies; it is the same number wherever the name occurs."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Something that an engine runs: one way to make a frame, or the way to neutralise a photo."""

    graph: str | None
    """ONNX file; None where the host does everything."""
    cache: tuple[TensorSpec, ...]
    """Inputs that are set once per source. The variant that neutralises has none."""
    motion: tuple[TensorSpec, ...]
    """Inputs that change from run to run."""
    outputs: tuple[TensorSpec, ...]
    graph_fp16: str | None = None
    """ONNX file of the same variant in half precision, with the same inputs and outputs; None where there is none."""
    graph_inputs: tuple[str, ...] = ()
    """For the host variant: the names in `cache` and `motion` that its graph takes, besides `warped`."""

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
    host_code: str | None
    """The code that turns attributes into motion tensors (`motion` in the manifest). None: the graph takes attributes."""
    neutralise: Variant | None
    """From the crop of a photo to the cache tensors, by a graph. None: the family's host code makes them."""
    graph: Variant
    """The whole frame by a graph, for any engine that runs graphs."""
    host: Variant | None
    """The warp on the CPU, without a graph. Its graph, if there is one, corrects the warped frame."""
    golden: str
    """A safetensors file with the inputs of every variant and the outputs that they must give."""
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
        """The graph after the host's warp: from the warped frame to the frame. None where there is no such graph."""
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

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Those that it has of `neutralise`, `graph` and `host`."""
        return tuple(v for v in (self.neutralise, self.graph, self.host) if v is not None)

    def file(self, name: str) -> Path:
        """Path of a listed file."""
        return self.path / name

    def golden_tensors(self) -> Tensors:
        """The golden inputs and outputs of all variants.

        Raises:
            BundleError: the file is not one of safetensors, or lacks a tensor.
        """
        path = self.file(self.golden)
        try:
            tensors = load(path.read_bytes())
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"cannot read {path}: {error}") from error
        wanted = dict.fromkeys(spec.name for v in self.variants for spec in (*v.inputs, *v.outputs))
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


_KINDS: Final = {"text": str, "a whole number": int, "a list": list, "an object": dict}


class _Section:
    """A JSON object whose entries are read by type."""

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, dict):
            raise _ManifestError(f"{where} should be an object")
        self.raw = raw
        self._where = where

    def get(self, key: str, what: str) -> Any:
        """The entry `key`, which has to be one of the _KINDS, or null if `what` says so. An object is a section again."""
        if key not in self.raw:
            raise _ManifestError(f"{self._where} lacks {key!r}")
        value = self.raw[key]
        if value is None and what.endswith(" or null"):
            return None
        # JSON's true is an int to Python.
        if not isinstance(value, _KINDS[what.removesuffix(" or null")]) or isinstance(value, bool):
            raise _ManifestError(f"{key!r} in {self._where} should be {what}")
        return _Section(value, f"{key!r}") if isinstance(value, dict) else value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value: str = self.get(key, "text")
        if value not in choices:
            raise _ManifestError(f"{key} {value!r} is unknown; known: {', '.join(choices)}")
        return value

    def specs(self, key: str) -> tuple[TensorSpec, ...]:
        return tuple(_spec(_Section(item, f"an entry of {key!r}")) for item in self.get(key, "a list"))


def _from_manifest(path: Path, raw: Any, digest: str) -> Bundle:
    top = _Section(raw, "the manifest")
    version: int = top.get("format_version", "a whole number")
    if version != FORMAT_VERSION:
        remedy = "upgrade icface-live" if version > FORMAT_VERSION else "get a newer bundle"
        raise _ManifestError(f"format {version}, while this program reads {FORMAT_VERSION}; {remedy}")
    size_px: int | None = top.get("size_px", "a whole number or null")
    variants: _Section = top.get("variants", "an object")
    bundle = Bundle(
        path=path,
        family=top.choice("family", FAMILIES),
        name=top.get("name", "text"),
        size_px=size_px,
        attribute_scale=top.choice("attribute_scale", ATTRIBUTE_SCALES),
        alignment=top.get("alignment", "text"),
        host_code=top.get("motion", "text or null"),
        neutralise=_neutralise(top.get("neutralise", "an object or null")),
        graph=_variant(variants.get("graph", "an object")),
        host=_host_variant(variants.get("host", "an object or null")),
        golden=top.get("golden", "text"),
        licence=top.get("licence", "text"),
        provenance=top.get("provenance", "text"),
        sha256=digest,
        hashes=_hashes(top.get("files", "an object").raw),
    )
    if size_px is not None and size_px < 1:
        raise _ManifestError(f"'size_px' in the manifest should be positive, not {size_px}")
    graphs = (name for variant in bundle.variants for name in (variant.graph, variant.graph_fp16))
    for name in (bundle.golden, *graphs):
        if name is not None and name not in bundle.hashes:
            raise _ManifestError(f"'files' gives no hash for {name}")
    for variant in (bundle.graph, bundle.host):
        if variant is not None and [spec.name for spec in variant.outputs] != ["frame"]:
            raise _ManifestError("'outputs' of a variant should be one tensor, 'frame'")
    if bundle.neutralise is not None:
        _check_neutralise(bundle.neutralise, bundle.graph)
    return bundle


def _neutralise(section: _Section | None) -> Variant | None:
    if section is None:
        return None
    return Variant(
        graph=section.get("graph", "text"),
        cache=(),
        motion=section.specs("inputs"),
        outputs=section.specs("outputs"),
    )


def _check_neutralise(neutralise: Variant, animate: Variant) -> None:
    """Check that one variant gives the cache tensors that the other takes."""
    given = {spec.name: spec for spec in neutralise.outputs}
    if "neutral" not in given:
        raise _ManifestError("'outputs' of 'neutralise' lacks 'neutral'")
    for spec in animate.cache:
        if given.get(spec.name) != spec:
            raise _ManifestError(f"'neutralise' does not give {spec.name} as the graph variant takes it")


def _hashes(files: dict[str, Any]) -> dict[str, str]:
    for name, digest in files.items():
        # This also keeps a manifest from naming a file outside its folder.
        if not _FILE_NAME.fullmatch(name):
            raise _ManifestError(f"{name!r} is not the name of a file inside the bundle")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise _ManifestError(f"the hash of {name} is not a sha256 in hexadecimal")
    return files


def _variant(section: _Section) -> Variant:
    return Variant(
        graph=section.get("graph", "text or null"),
        cache=section.specs("cache"),
        motion=section.specs("motion"),
        outputs=section.specs("outputs"),
        # Bundles of older versions lack this entry.
        graph_fp16=section.get("graph_fp16", "text or null") if "graph_fp16" in section.raw else None,
    )


def _host_variant(section: _Section | None) -> Variant | None:
    if section is None:
        return None
    variant = _variant(section)
    if variant.graph is None:
        return variant
    names = section.get("graph_inputs", "a list")
    for name in names:
        if name not in [spec.name for spec in variant.inputs]:
            raise _ManifestError(f"'graph_inputs' names {name!r}, which is no tensor of the host variant")
    return replace(variant, graph_inputs=tuple(names))


def _spec(section: _Section) -> TensorSpec:
    name, dtype = section.get("name", "text"), section.get("dtype", "text")
    shape = section.get("shape", "a list")
    try:
        np.dtype(dtype)
    except TypeError as error:
        raise _ManifestError(f"{name} has the unknown type {dtype!r}") from error
    if not all(isinstance(size, str) or (type(size) is int and size > 0) for size in shape):
        raise _ManifestError(f"the shape of {name} should be positive numbers and names")
    return TensorSpec(name=name, dtype=dtype, shape=tuple(shape))
