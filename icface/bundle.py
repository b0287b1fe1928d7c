"""A model on disk: a folder with manifest.json, ONNX graphs and a golden frame, every file under its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from icface.errors import BundleError

FORMAT_VERSION: Final = 1
FAMILIES: Final = ("edge", "paper")
MANIFEST: Final = "manifest.json"
DEFAULT_BUNDLE: Final = Path(__file__).parent / "models" / "edge.icface"
"""The generator that ships."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph."""

    name: str
    dtype: str
    """NumPy's name, as `uint8`."""
    shape: tuple[int | str, ...]
    """Sizes; a name stands for one that varies."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to make a frame."""

    graph: str | None
    """ONNX file; None where the host does everything."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A checked model."""

    path: Path
    family: str
    name: str
    attribute_scale: str
    """`full-shape` or `openface`."""
    alignment: str
    """How the source is cropped, in words."""
    graph: Variant
    """The warp in the graph: for GPUs, and any engine."""
    host: Variant | None
    """The warp on the host: for CPUs; its graph is what remains to be done, if anything."""
    golden: str
    """A safetensors file: inputs and the `frame` they must give."""
    licence: str
    provenance: str
    """What it was made from."""
    sha256: str
    """Digest of the manifest, which holds the digests of all files."""
    hashes: Mapping[str, str]

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read and check a bundle.

        Raises:
            BundleError: missing, damaged, tampered with, or made for another version.
        """
        manifest_path = path / MANIFEST
        if not path.is_dir() or not manifest_path.is_file():
            raise BundleError(f"{path} is not a model bundle: a folder with {MANIFEST} is expected")
        try:
            content = manifest_path.read_bytes()
            raw = json.loads(content)
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot read {manifest_path}: {error}") from error
        if not isinstance(raw, dict):
            raise BundleError(f"{manifest_path} is not a manifest")
        version = raw.get("format_version")
        if not isinstance(version, int):
            raise BundleError(f"{manifest_path} states no format version; is it a bundle of ours?")
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{path} has format {version}, this program reads {FORMAT_VERSION}; upgrade icface-live"
            )
        try:
            bundle = cls._from_manifest(path, raw, hashlib.sha256(content).hexdigest())
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{manifest_path} is not complete: {error}") from error
        bundle._check_files()
        return bundle

    @classmethod
    def _from_manifest(cls, path: Path, raw: dict[str, Any], digest: str) -> Bundle:
        if raw["family"] not in FAMILIES:
            raise ValueError(f"family {raw['family']!r} is unknown; known: {', '.join(FAMILIES)}")
        variants = raw["variants"]
        hashes = {str(name): str(value) for name, value in raw["files"].items()}
        return cls(
            path=path,
            family=str(raw["family"]),
            name=str(raw["name"]),
            attribute_scale=str(raw["attribute_scale"]),
            alignment=str(raw["alignment"]),
            graph=_variant(variants["graph"]),
            host=_variant(variants["host"]) if variants.get("host") is not None else None,
            golden=str(raw["golden"]),
            licence=str(raw["licence"]),
            provenance=str(raw["provenance"]),
            sha256=digest,
            hashes=hashes,
        )

    def _check_files(self) -> None:
        wanted = {self.golden, self.graph.graph, None if self.host is None else self.host.graph} - {None}
        unlisted = sorted(str(name) for name in wanted if name not in self.hashes)
        if unlisted:
            raise BundleError(f"{self.path}/{MANIFEST} gives no hash for {', '.join(unlisted)}")
        for name, expected in self.hashes.items():
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts or "\\" in name:
                raise BundleError(f"{self.path}/{MANIFEST} names a file outside the bundle: {name}")
            try:
                found = hashlib.sha256((self.path / name).read_bytes()).hexdigest()
            except OSError as error:
                raise BundleError(f"{self.path} lacks {name}; install it again") from error
            if found != expected:
                raise BundleError(
                    f"{self.path / name} is not the file the manifest was made for (changed or damaged); "
                    "install the bundle again"
                )

    def file(self, name: str) -> Path:
        """Path of a listed file."""
        return self.path / name

    def golden_tensors(self) -> dict[str, NDArray[np.generic]]:
        """The golden inputs and `frame`.

        Raises:
            BundleError: the file is not one of safetensors.
        """
        try:
            return dict(load(self.file(self.golden).read_bytes()))
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read {self.file(self.golden)}: {error}") from error


def _variant(raw: dict[str, Any]) -> Variant:
    return Variant(
        graph=None if raw["graph"] is None else str(raw["graph"]),
        inputs=tuple(_spec(item) for item in raw["inputs"]),
        outputs=tuple(_spec(item) for item in raw["outputs"]),
    )


def _spec(raw: dict[str, Any]) -> TensorSpec:
    np.dtype(raw["dtype"])
    return TensorSpec(name=str(raw["name"]), dtype=str(raw["dtype"]), shape=tuple(raw["shape"]))
