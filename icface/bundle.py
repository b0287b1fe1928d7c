"""A model on disk: a folder with manifest.json, ONNX graphs and a golden frame. The manifest has every file's hash.

docs/bundle.md describes the format.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from icface.arrays import Tensors
from icface.attributes import EXTENSIONS
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
_Size = Annotated[int, msgspec.Meta(ge=1)]


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a variant."""

    name: str
    dtype: str
    """NumPy's name, as `uint8`."""
    shape: tuple[_Size | str, ...]
    """Sizes. A name stands for a size that varies; it is the same number wherever the name occurs."""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
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
    graph_inputs: tuple[str, ...] | None = None
    """For a host variant with a graph: the names in `cache` and `motion` that it takes, besides `warped`."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.cache + self.motion

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs


class _Neutralise(Variant, frozen=True, kw_only=True):
    """The manifest lists the inputs of this variant as `inputs`."""

    graph: str
    cache: tuple[TensorSpec, ...] = ()
    motion: tuple[TensorSpec, ...] = msgspec.field(name="inputs")


class _Variants(msgspec.Struct, frozen=True, kw_only=True):
    graph: Variant
    host: Variant | None


class _Version(msgspec.Struct):
    format_version: int


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A checked model."""

    path: Path
    family: str
    name: str
    size_px: _Size | None
    """Side of the frames it makes; None: any."""
    attribute_scale: str
    """`full-shape` or `openface`."""
    extensions: tuple[str, ...] = ()
    """The attributes beyond the paper's that it takes, by name."""
    alignment: str
    """How the source is cropped, in words."""
    host_code: str | None = msgspec.field(name="motion")
    """The code that turns attributes into motion tensors. None: the graph takes attributes."""
    neutralise: _Neutralise | None
    """From the crop of a photo to the cache tensors, by a graph. None: the family's host code makes them."""
    variants: _Variants
    golden: str
    """A safetensors file with the inputs of every variant and the outputs that they must give."""
    licence: str
    provenance: str
    """What it was made from."""
    sha256: str
    """Digest of the manifest, which holds the digests of all files."""
    hashes: dict[str, str] = msgspec.field(name="files")
    """Digest of every other file, by its name inside the folder."""

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read and check a bundle; BundleError where it is missing, damaged, changed, or of another version."""
        if not (path / MANIFEST).is_file():
            raise BundleError(f"{path} is not a model bundle: a folder with {MANIFEST} is expected")
        try:
            content = (path / MANIFEST).read_bytes()
            # The version comes first, because a newer manifest may have other entries.
            version = msgspec.json.decode(content, type=_Version).format_version
            if version != FORMAT_VERSION:
                remedy = "upgrade icface-live" if version > FORMAT_VERSION else "get a newer bundle"
                raise ValueError(f"format {version}, while this program reads {FORMAT_VERSION}; {remedy}")
            own = {"path": path, "sha256": hashlib.sha256(content).hexdigest()}
            bundle = msgspec.convert(msgspec.json.decode(content) | own, cls)
            for problem in _problems(bundle):
                raise ValueError(problem)
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            raise BundleError(f"{path / MANIFEST}: {error}") from error
        return bundle

    @property
    def graph(self) -> Variant:
        """The whole frame by a graph, for any engine that runs graphs."""
        return self.variants.graph

    @property
    def host(self) -> Variant | None:
        """The warp on the CPU, without a graph. Its graph, if there is one, corrects the warped frame."""
        return self.variants.host

    @property
    def corrector(self) -> Variant | None:
        """The graph after the host's warp: from the warped frame to the frame. None where there is no such graph."""
        host = self.host
        if host is None or host.graph is None:
            return None
        cache, motion = (
            tuple(spec for spec in specs if spec.name in (host.graph_inputs or ()))
            for specs in (host.cache, host.motion)
        )
        warped = msgspec.structs.replace(host.outputs[0], name=WARPED)
        return Variant(graph=host.graph, cache=cache, motion=(warped, *motion), outputs=host.outputs)

    def file(self, name: str) -> Path:
        """Path of a listed file."""
        return self.path / name

    def golden_tensors(self) -> Tensors:
        """The golden inputs and outputs of all variants; BundleError where the file is damaged or lacks one."""
        path = self.file(self.golden)
        try:
            tensors = load(path.read_bytes())
        except (OSError, SafetensorError, KeyError) as error:
            raise BundleError(f"cannot read {path}: {error}") from error
        wanted = dict.fromkeys(spec.name for variant in _all(self) for spec in variant.tensors)
        if missing := [name for name in wanted if name not in tensors]:
            raise BundleError(f"{path} lacks {', '.join(missing)}")
        return tensors


def _all(bundle: Bundle) -> list[Variant]:
    return [each for each in (bundle.neutralise, bundle.graph, bundle.host) if each is not None]


def _problems(bundle: Bundle) -> Iterator[str]:
    """What is wrong with a manifest whose entries are all there and of the right type."""
    for key, known in (("family", FAMILIES), ("attribute_scale", ATTRIBUTE_SCALES)):
        if (value := getattr(bundle, key)) not in known:
            yield f"{key} {value!r} is unknown; known: {', '.join(known)}"
    for name in bundle.extensions:
        if name not in EXTENSIONS:
            yield f"'extensions' names {name!r}, which is none; known: {', '.join(EXTENSIONS)}"
    for name, digest in bundle.hashes.items():
        # This also keeps a manifest from naming a file outside its folder.
        if not _FILE_NAME.fullmatch(name):
            yield f"{name!r} is not the name of a file inside the bundle"
        if not _SHA256.fullmatch(digest):
            yield f"the hash of {name} is not a sha256 in hexadecimal"
    graphs = (name for variant in _all(bundle) for name in (variant.graph, variant.graph_fp16))
    for file in (bundle.golden, *graphs):
        if file is not None and file not in bundle.hashes:
            yield f"'files' gives no hash for {file}"
    for variant in _all(bundle):
        if variant is not bundle.neutralise and [spec.name for spec in variant.outputs] != ["frame"]:
            yield "'outputs' of a variant should be one tensor, 'frame'"
        for spec in variant.tensors:
            try:
                np.dtype(spec.dtype)
            except TypeError:
                yield f"{spec.name} has the unknown type {spec.dtype!r}"
    host = bundle.host
    if host is not None and host.graph is not None:
        if host.graph_inputs is None:
            yield "the host variant has a graph and lacks 'graph_inputs'"
        for name in set(host.graph_inputs or ()) - {spec.name for spec in host.inputs}:
            yield f"'graph_inputs' names {name!r}, which is no tensor of the host variant"
    if bundle.neutralise is not None:
        given = bundle.neutralise.outputs
        if "neutral" not in [spec.name for spec in given]:
            yield "'outputs' of 'neutralise' lacks 'neutral'"
        for spec in bundle.graph.cache:
            if spec not in given:
                yield f"'neutralise' does not give {spec.name} as the graph variant takes it"
    for name, digest in bundle.hashes.items():
        try:
            with bundle.file(name).open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            yield f"the bundle lacks {name} ({error.strerror}); install it again"
            return
        if found != digest:
            yield f"{name} is not the file that {MANIFEST} names (changed or damaged); install the bundle again"
