"""A model on disk: a folder with manifest.json, ONNX graphs and a golden frame. The manifest has every file's hash.

docs/bundle.md describes the format.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from icface.arrays import Tensors
from icface.attributes import EXTENSIONS
from icface.consent import Consent, consent_problems
from icface.errors import BundleError
from icface.files import read_file
from icface.graphs import MAX_ELEMENTS, MAX_GRAPH_BYTES, check_graph
from icface.signing import check_signature
from icface.tensors import read_tensors

FORMAT_VERSION: Final = 1
FAMILIES: Final = tuple(
    sorted(path.stem for path in (Path(__file__).parent / "families").glob("*.py") if path.stem != "__init__")
)
"""The families that this version has host code for: the modules of `icface/families/`."""
ATTRIBUTE_SCALES: Final = ("full-shape", "openface")
MANIFEST: Final = "manifest.json"
CORRECTION: Final = {"inputs": ("patch", "conditions", "gates"), "outputs": ("correction",)}
"""The tensors of the graph that corrects frames, by name."""
GEOMETRY: Final = "geometry"
"""The golden frame without the network's correction."""
DEFAULT_BUNDLE: Final = Path(__file__).parent / "models" / "edge.icface"
"""The generator that ships."""

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MANIFEST_BYTES: Final = 4_000_000
_MAX_FILES: Final = 64
_MAX_BYTES: Final = 2_000_000_000
"""Of one file."""
_DTYPES: Final = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64"),
)
_PERSON_BYTES: Final = 4_000_000
_SOURCE_BYTES: Final = 20_000_000
_Size = Annotated[int, msgspec.Meta(ge=1, le=65_536)]


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

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.cache + self.motion

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs


class _Apart(Variant, frozen=True, kw_only=True):
    """A step beside the frame's own variants. The manifest lists its inputs as `inputs`."""

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
    neutralise: _Apart | None
    """From the crop of a photo to the cache tensors, by a graph. None: the family's host code makes them."""
    correct: _Apart | None = None
    """From a patch of the host variant's frame to what a network changes in it, by a graph. None: geometry alone."""
    variants: _Variants
    person: str | None = None
    """A safetensors file of what the family knows of one person. None: it knows nobody."""
    source: str | None = None
    """A PNG file with a photo of that person, which is shown where no other is named. None: there is none."""
    consent: Consent | None = None
    """None: nobody was asked."""
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
    def load(cls, path: Path, keys: Sequence[Path] | None = None) -> Bundle:
        """Read and check a bundle.

        Args:
            path: its folder.
            keys: files of public keys, one of which has to have signed it; None: it needs no signature. The bundle that
                ships needs none: it comes with the program.

        Raises:
            BundleError: it is missing, damaged, changed, not signed, of another version, or nothing an engine may read.
        """
        ships = path.resolve() == DEFAULT_BUNDLE.resolve()
        again = "; install icface-live again" if ships else ""
        if not (path / MANIFEST).is_file():
            raise BundleError(f"{path} is not a model bundle: a folder with {MANIFEST} is expected{again}")
        try:
            content = read_file(_inside(path, MANIFEST), _MANIFEST_BYTES)
            sha256 = hashlib.sha256(content).hexdigest()
            if keys is not None and not ships:
                check_signature(path, sha256, keys)
            # The version comes first, because a newer manifest may have other entries.
            version = msgspec.json.decode(content, type=_Version).format_version
            if version != FORMAT_VERSION:
                remedy = "upgrade icface-live" if version > FORMAT_VERSION else "get a newer bundle"
                raise ValueError(f"format {version}, while this program reads {FORMAT_VERSION}; {remedy}")
            bundle = msgspec.convert(msgspec.json.decode(content) | {"path": path, "sha256": sha256}, cls)
            for problem in _problems(bundle, ships):
                raise ValueError(problem)
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            reason = _reason(error)
            if ships:  # its user does not have it from anywhere else
                reason = reason.partition("; ")[0] + again
            raise BundleError(f"{path / MANIFEST}: {reason}") from error
        return bundle

    @property
    def graph(self) -> Variant:
        """The whole frame by a graph, for any engine that runs graphs."""
        return self.variants.graph

    @property
    def host(self) -> Variant | None:
        """The frame by host code on the CPU, corrected by the graph `correct` where there is one."""
        return self.variants.host

    @property
    def source_photo(self) -> Path | None:
        """Path of the photo of the person; None where there is none."""
        return None if self.source is None else self.file(self.source)

    def file(self, name: str) -> Path:
        """Path of a listed file."""
        return self.path / name

    def person_tensors(self) -> Tensors | None:
        """What the family knows of the person, as the file has it; None: nothing. BundleError where it is damaged."""
        if self.person is None:
            return None
        path = self.file(self.person)
        try:
            return read_tensors(read_file(path, _PERSON_BYTES))
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot read {path}: {_reason(error)}") from error

    def golden_tensors(self) -> Tensors:
        """The golden inputs and outputs of all variants; BundleError where the file is damaged or lacks one."""
        path = self.file(self.golden)
        try:
            tensors = read_tensors(read_file(path, _MAX_BYTES))
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot read {path}: {_reason(error)}") from error
        wanted = dict.fromkeys(spec.name for variant in _all(self) for spec in variant.tensors)
        if self.correct is not None:
            wanted |= {GEOMETRY: None}
            del wanted["patch"], wanted["correction"]  # parts of the frame
        if missing := [name for name in wanted if name not in tensors]:
            raise BundleError(f"{path} lacks {', '.join(missing)}")
        return tensors


def _reason(error: Exception) -> str:
    """What went wrong, in one line without what would steer a terminal."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _inside(folder: Path, name: str) -> Path:
    """Path of a file in the folder; ValueError where a link leads out of it, or there is no file."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name} is a link to a file outside of the bundle; copy the file into it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{name} is not a file")
    return path


def _all(bundle: Bundle) -> list[Variant]:
    return [
        each for each in (bundle.neutralise, bundle.correct, bundle.graph, bundle.host) if each is not None
    ]


def _correction_problems(bundle: Bundle, correct: Variant) -> Iterator[str]:
    for key, specs in (("inputs", correct.inputs), ("outputs", correct.outputs)):
        if sorted(spec.name for spec in specs) != sorted(CORRECTION[key]):
            yield f"'{key}' of 'correct' should be {', '.join(CORRECTION[key])}"
    for variant in (bundle.graph, bundle.host):
        told = {spec.name for spec in variant.motion} if variant is not None else set()
        if missing := [name for name in ("patch_to_frame", "conditions", "gates") if name not in told]:
            yield f"a bundle with 'correct' should have {', '.join(missing)} among the motion of both variants"


def _personal_problems(bundle: Bundle) -> Iterator[str]:
    for key, ending, most in (("person", ".safetensors", _PERSON_BYTES), ("source", ".png", _SOURCE_BYTES)):
        name = getattr(bundle, key)
        if name is None:
            continue
        if not name.endswith(ending):
            yield f"{key!r} should name a {ending} file, not {name!r}"
        elif name not in bundle.hashes:
            yield f"'files' gives no hash for {name}"
        elif (path := _inside(bundle.path, name)).is_file() and path.stat().st_size > most:
            yield f"{name} is larger than {most / 1e6:g} MB"
    if bundle.consent is not None:
        yield from consent_problems(bundle.consent)


def _problems(bundle: Bundle, ships: bool) -> Iterator[str]:
    """What is wrong with a manifest whose entries are all there and of the right type, and with the files it names."""
    if not (bundle.name.isprintable() and len(bundle.name) <= 100):
        yield "'name' should be at most 100 characters of text in one line"
    if len(bundle.hashes) > _MAX_FILES:
        yield f"'files' names {len(bundle.hashes)} files; at most {_MAX_FILES} are read"
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
    graphs = [name for variant in _all(bundle) for name in (variant.graph, variant.graph_fp16)]
    for file in (bundle.golden, *graphs):
        if file is not None and file not in bundle.hashes:
            yield f"'files' gives no hash for {file}"
    for variant in _all(bundle):
        if not isinstance(variant, _Apart) and [spec.name for spec in variant.outputs] != ["frame"]:
            yield "'outputs' of a variant should be one tensor, 'frame'"
        for spec in variant.tensors:
            if spec.dtype not in _DTYPES:
                yield f"{spec.name} has the unknown type {spec.dtype!r}"
            if math.prod(size for size in spec.shape if isinstance(size, int)) > MAX_ELEMENTS:
                yield f"{spec.name} would have more than {MAX_ELEMENTS:,} numbers"
    if bundle.host is not None and bundle.host.graph is not None:
        yield "the host variant has a graph, as in older bundles; get a newer bundle"
    if bundle.correct is not None:
        yield from _correction_problems(bundle, bundle.correct)
    yield from _personal_problems(bundle)
    if bundle.neutralise is not None:
        given = bundle.neutralise.outputs
        if "neutral" not in [spec.name for spec in given]:
            yield "'outputs' of 'neutralise' lacks 'neutral'"
        for spec in bundle.graph.cache:
            if spec not in given:
                yield f"'neutralise' does not give {spec.name} as the graph variant takes it"
    for name, digest in bundle.hashes.items():
        try:
            with _inside(bundle.path, name).open("rb") as opened:
                if os.fstat(opened.fileno()).st_size > _MAX_BYTES:
                    yield f"{name} is larger than {_MAX_BYTES / 1e9:g} GB"
                    return
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            yield f"the bundle lacks {name} ({error.strerror}); install it again"
            return
        if found != digest:
            yield f"{name} is not the file that {MANIFEST} names (changed or damaged); install the bundle again"
    for name in () if ships else dict.fromkeys(name for name in graphs if name is not None):
        try:
            check_graph(read_file(bundle.file(name), MAX_GRAPH_BYTES))
        except ValueError as error:
            yield f"{name} {error}; no engine is given it"
