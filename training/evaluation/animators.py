"""Models under evaluation behind one small interface: checkpoints of the paper's networks, and bundles."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icface.arrays import Frame
from icface.attributes import FloatArray, in_range, to_openface
from icface.bundle import MANIFEST, Bundle
from icface.errors import ConfigError
from icface.face.alignment import ALIGNMENT, align
from icface.face.viewer import Viewer, enlarged, in_frame
from icface.images import Photo, cut_crop
from icface.networks import load_model
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache
from training.networks.complexity import count_parameters

BATCH: Final = 8


class Animator(Protocol):
    """A model with one source at a time. Crops are those of the data set: aligned as it states, one size."""

    name: str
    """Short, unique among those that are compared."""
    facts: dict[str, Any]
    """What the report says of it: kind, file, sha256, provenance, licence, notes."""

    def neutralise(self, crop: Frame) -> Frame:
        """Take a source crop (S, S, 3); gives its neutral picture (S, S, 3).

        Raises:
            SourceError: the model cannot use this source.
        """
        ...

    def animate(self, attributes: FloatArray) -> Frame:
        """Crops (n, S, S, 3) of the source with full-shape attributes (n, 20); Action Units may exceed 1."""
        ...

    def close(self) -> None: ...


def open_animators(paths: Sequence[Path], size_px: int, *, device: str = "cpu") -> list[Animator]:
    """Models from checkpoints (.safetensors) and bundle folders, named after their files.

    `size_px` is the side of the data set's crops. Checkpoints run on the device; bundles choose their own engine.

    Raises:
        ConfigError: no such model, or damaged.
        BundleError: the bundle is missing, damaged or for another version.
    """
    opened: list[Animator] = []
    for path, name in zip(paths, unique_names(paths), strict=True):
        if (path / MANIFEST).is_file():
            opened.append(BundleAnimator(path, name, size_px))
        elif path.suffix == ".safetensors":
            opened.append(CheckpointAnimator(path, name, size_px, device))
        else:
            raise ConfigError(f"{path} is not a model; give a .safetensors checkpoint or a bundle folder")
    return opened


def unique_names(paths: Sequence[Path]) -> list[str]:
    """File names without ending. Equal ones get the folder in front, and a number if that does not help."""
    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}-{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]
    return [f"{name}-{i + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]


class CheckpointAnimator:
    """G_N and G_A in torch. `neutralise` comes before `animate`.

    Raises:
        ConfigError: the file is not a checkpoint of ours.
    """

    _neutral: Tensor

    def __init__(self, path: Path, name: str, size_px: int, device: str = "cpu") -> None:
        model, info = load_model(path)
        self.name = name
        self._model = model.to(device)
        self._info = info
        self._device = device
        self._size_px = size_px
        notes = []
        if (px := info.networks.size_px) != size_px:
            notes.append(f"made for {px} pixels; crops of {size_px} pixels are scaled to it and back")
        if info.alignment != ALIGNMENT:
            notes.append(f"trained on crops by {info.alignment!r}, measured on crops by {ALIGNMENT!r}")
        if not info.networks.neutraliser:
            notes.append("has no neutraliser: its neutral picture is the source itself")
        self.facts = {
            "kind": "checkpoint",
            "file": str(path),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "step": info.step,
            "parameters": count_parameters(model),
            "attribute_scale": info.attribute_scale,
            "provenance": info.provenance,
            "licence": info.licence,
            "notes": notes,
        }

    @torch.inference_mode()
    def neutralise(self, crop: Frame) -> Frame:
        """See Animator."""
        image = to_images(resized(crop, self._info.networks.size_px)[None]).to(self._device)
        self._neutral = self._model.neutralise(image)
        return resized(to_frames(self._neutral)[0], self._size_px)

    @torch.inference_mode()
    def animate(self, attributes: FloatArray) -> Frame:
        """See Animator."""
        asked = to_openface(attributes) if self._info.attribute_scale == "openface" else attributes
        wanted = torch.from_numpy(in_range(asked).astype(np.float32)).to(self._device)
        parts = [
            to_frames(self._model.animate(self._neutral.expand(len(part), -1, -1, -1), part))
            for part in wanted.split(BATCH)
        ]
        return np.stack([resized(frame, self._size_px) for part in parts for frame in part])

    def close(self) -> None: ...


class BundleAnimator:
    """A bundle, run by `icface.reenactor` as for a user.

    It takes the crop for a photo, and finds and crops the face in its own way. Frames of a family with the data's
    alignment are put back to their place in the photo. Another family leaves the head where it was in the photo, while
    the data's crop follows the head. So its frames are aligned anew, as in preparing data.

    Raises:
        BundleError: it is missing, damaged or for another version.
        EngineError: no engine can run it.
    """

    _affine: NDArray[np.float64]
    """(2, 3) from pixels of the data's crop to those of a frame."""

    def __init__(self, path: Path, name: str, size_px: int) -> None:
        bundle = Bundle.load(path)
        self.name = name
        self._size_px = size_px
        self._folder = tempfile.TemporaryDirectory(prefix="icface-evaluation-")
        self._reenactor = Reenactor(bundle, size_px=None, source_cache=SourceCache(Path(self._folder.name)))
        self._viewer = None if bundle.alignment == ALIGNMENT else Viewer()
        placed = "frames put back to their place in the photo"
        if self._viewer is not None:
            placed = f"frames aligned anew, because its own crops are by {bundle.alignment!r}"
        self.facts: dict[str, Any] = {
            "kind": "bundle",
            "file": str(path),
            "sha256": bundle.sha256,
            "family": bundle.family,
            "engine": self._reenactor.describe(),
            "attribute_scale": bundle.attribute_scale,
            "provenance": bundle.provenance,
            "licence": bundle.licence,
            "notes": [f"given the data's crops as photos; {placed}"],
        }

    def neutralise(self, crop: Frame) -> Frame:
        """See Animator."""
        frame = enlarged(crop)
        digest = hashlib.sha256(frame.tobytes()).hexdigest()
        source = self._reenactor.prepare_source(Photo(frame=frame, sha256=digest, path=Path("crop")))
        self._reenactor.set_source(source)
        self._affine = data_to_bundle(source.crop_to_photo, frame.shape[0], self._size_px)
        return self._in_data(source.neutral)

    def animate(self, attributes: FloatArray) -> Frame:
        """See Animator."""
        return np.stack([self._in_data(self._reenactor.animate(row)) for row in attributes])

    def close(self) -> None:
        self._reenactor.close()
        if self._viewer is not None:
            self._viewer.close()
        self._folder.cleanup()

    def _in_data(self, frame: Frame) -> Frame:
        """A frame of the bundle, as the data set would crop it."""
        if self._viewer is None:
            return cut_crop(frame, self._affine, self._size_px)
        face = self._viewer.look(frame)
        if face is None:
            return resized(frame, self._size_px)
        return cut_crop(frame, align(in_frame(face, frame.shape[0]), self._size_px), self._size_px)


def data_to_bundle(crop_to_photo: NDArray[np.float64], photo_px: int, size_px: int) -> NDArray[np.float64]:
    """(2, 3) affine from pixels of the data's crop to those of a bundle's frame.

    Args:
        crop_to_photo: (2, 3) from pixels of the bundle's frame to those of the photo.
        photo_px: side of the photo, which is the data's crop enlarged.
        size_px: side of the data's crop.
    """
    scale = photo_px / size_px
    shift = scale / 2 - 0.5  # pixel centres are integers
    data_to_photo = np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
    photo_to_frame = np.linalg.inv(np.vstack([crop_to_photo, [0, 0, 1]]))
    return np.asarray((photo_to_frame @ data_to_photo)[:2])


def resized(frame: Frame, width: int, height: int | None = None) -> Frame:
    """A square frame at another size; without a height it stays square."""
    size = (width, height or width)
    if size == frame.shape[:2]:
        return frame
    how = cv2.INTER_AREA if min(size) < frame.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size, interpolation=how), dtype=np.uint8)


def to_images(frames: Frame) -> Tensor:
    """(n, S, S, 3) RGB uint8 to (n, 3, S, S) float32 in [−1, 1]."""
    planes = np.ascontiguousarray(frames.transpose(0, 3, 1, 2), dtype=np.float32)
    return torch.from_numpy(planes) / 127.5 - 1


def to_frames(images: Tensor) -> Frame:
    """(n, 3, S, S) in [−1, 1] to (n, S, S, 3) RGB uint8, rounded."""
    values = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(values.permute(0, 2, 3, 1).cpu().numpy())
