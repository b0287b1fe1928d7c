"""A model on disk: a folder with manifest.json, ONNX graphs and a golden frame. The manifest has every file's hash.

docs/bundle.md describes the format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from icface.arrays import Tensors
from icface.bundle_checks import MAX_BYTES, PERSON_BYTES, all_variants, in_words, inside, problems
from icface.consent import Consent
from icface.errors import BundleError
from icface.files import read_file
from icface.signing import check_signature
from icface.tensors import read_tensors
from icface.variants import Apart, Size, Variant, Variants

FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
GEOMETRY: Final = "geometry"
"""The golden frame without the network's correction."""
DEFAULT_BUNDLE: Final = Path(__file__).parent / "models" / "edge.icface"
"""The generator that ships."""

_MANIFEST_BYTES: Final = 4_000_000


class _Version(msgspec.Struct):
    format_version: int


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A checked model."""

    path: Path
    family: str
    name: str
    size_px: Size | None
    """Side of the frames it makes; None: any."""
    attribute_scale: str
    """`full-shape` or `openface`."""
    extensions: tuple[str, ...] = ()
    """The attributes beyond the paper's that it takes, by name."""
    alignment: str
    """How the source is cropped, in words."""
    host_code: str | None = msgspec.field(name="motion")
    """The code that turns attributes into motion tensors. None: the graph takes attributes."""
    neutralise: Apart | None
    """From the crop of a photo to the cache tensors, by a graph. Of a family with host code, which makes these: from a
    patch of the photo's neutral frame to what a network changes in it. None: the host code does it alone."""
    correct: Apart | None = None
    """From a patch of the host variant's frame to what a network changes in it, by a graph. None: geometry alone."""
    variants: Variants
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
            content = read_file(inside(path, MANIFEST), _MANIFEST_BYTES)
            sha256 = hashlib.sha256(content).hexdigest()
            if keys is not None and not ships:
                check_signature(path, sha256, keys)
            # The version comes first, because a newer manifest may have other entries.
            version = msgspec.json.decode(content, type=_Version).format_version
            if version != FORMAT_VERSION:
                remedy = "upgrade icface-live" if version > FORMAT_VERSION else "get a newer bundle"
                raise ValueError(f"format {version}, while this program reads {FORMAT_VERSION}; {remedy}")
            bundle = msgspec.convert(msgspec.json.decode(content) | {"path": path, "sha256": sha256}, cls)
            for problem in problems(bundle, ships):
                raise ValueError(problem)
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            reason = in_words(error)
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
            return read_tensors(read_file(path, PERSON_BYTES))
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot read {path}: {in_words(error)}") from error

    def golden_tensors(self) -> Tensors:
        """The golden inputs and outputs of all variants; BundleError where the file is damaged or lacks one."""
        path = self.file(self.golden)
        try:
            tensors = read_tensors(read_file(path, MAX_BYTES))
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot read {path}: {in_words(error)}") from error
        wanted = dict.fromkeys(spec.name for variant in all_variants(self) for spec in variant.tensors)
        if self.correct is not None:
            wanted |= {GEOMETRY: None}
            others = [each for each in all_variants(self) if each is not self.correct]
            apart = {spec.name for variant in others for spec in variant.tensors}
            for name in {"patch", "correction"} - apart:  # parts of the frame
                del wanted[name]
        if missing := [name for name in wanted if name not in tensors]:
            raise BundleError(f"{path} lacks {', '.join(missing)}")
        return tensors
