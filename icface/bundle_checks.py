"""What is looked at before a bundle is used: its manifest's entries, its files and its graphs."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icface.attributes import EXTENSIONS
from icface.command import printable
from icface.consent import consent_problems
from icface.files import read_file
from icface.graphs import MAX_ELEMENTS, MAX_GRAPH_BYTES, check_graph
from icface.variants import Apart, Variant

if TYPE_CHECKING:
    from icface.bundle import Bundle

FAMILIES: Final = tuple(
    sorted(path.stem for path in (Path(__file__).parent / "families").glob("*.py") if path.stem != "__init__")
)
"""The families that this version has host code for: the modules of `icface/families/`."""
ATTRIBUTE_SCALES: Final = ("full-shape", "openface")
CORRECTION: Final = {"inputs": ("patch", "conditions", "gates"), "outputs": ("correction",)}
"""The tensors of the graph that corrects frames, by name."""
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_FILES: Final = 64
MAX_BYTES: Final = 2_000_000_000
"""Of one file."""
_DTYPES: Final = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64"),
)
PERSON_BYTES: Final = 4_000_000
SOURCE_BYTES: Final = 20_000_000


def in_words(error: Exception) -> str:
    """What went wrong, in one line without what would steer a terminal."""
    return printable(" ".join(str(getattr(error, "strerror", None) or error).split()))


def inside(folder: Path, name: str) -> Path:
    """Path of a file in the folder; ValueError where a link leads out of it, or there is no file."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name} is a link to a file outside of the bundle; copy the file into it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{name} is not a file")
    return path


def all_variants(bundle: Bundle) -> list[Variant]:
    """All that an engine may run of it."""
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
    for key, ending, most in (("person", ".safetensors", PERSON_BYTES), ("source", ".png", SOURCE_BYTES)):
        name = getattr(bundle, key)
        if name is None:
            continue
        if not name.endswith(ending):
            yield f"{key!r} should name a {ending} file, not {name!r}"
        elif name not in bundle.hashes:
            yield f"'files' gives no hash for {name}"
        elif (path := inside(bundle.path, name)).is_file() and path.stat().st_size > most:
            yield f"{name} is larger than {most / 1e6:g} MB"
    if bundle.consent is not None:
        yield from consent_problems(bundle.consent)


def problems(bundle: Bundle, ships: bool) -> Iterator[str]:
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
    graphs = [name for variant in all_variants(bundle) for name in (variant.graph, variant.graph_fp16)]
    for file in (bundle.golden, *graphs):
        if file is not None and file not in bundle.hashes:
            yield f"'files' gives no hash for {file}"
    for variant in all_variants(bundle):
        if not isinstance(variant, Apart) and [spec.name for spec in variant.outputs] != ["frame"]:
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
    if bundle.neutralise is not None and bundle.host_code is None:  # else it makes a part of them
        given = bundle.neutralise.outputs
        if "neutral" not in [spec.name for spec in given]:
            yield "'outputs' of 'neutralise' lacks 'neutral'"
        for spec in bundle.graph.cache:
            if spec not in given:
                yield f"'neutralise' does not give {spec.name} as the graph variant takes it"
    for name, digest in bundle.hashes.items():
        try:
            with inside(bundle.path, name).open("rb") as opened:
                if os.fstat(opened.fileno()).st_size > MAX_BYTES:
                    yield f"{name} is larger than {MAX_BYTES / 1e9:g} GB"
                    return
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            yield f"the bundle lacks {name} ({error.strerror}); install it again"
            return
        if found != digest:
            yield f"{name} is not the file that manifest.json names (changed or damaged); install the bundle again"
    for name in () if ships else dict.fromkeys(name for name in graphs if name is not None):
        try:
            check_graph(read_file(bundle.file(name), MAX_GRAPH_BYTES))
        except ValueError as error:
            yield f"{name} {error}; no engine is given it"
