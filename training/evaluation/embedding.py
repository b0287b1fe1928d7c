"""Networks that tell persons apart, for CSIM: LightCNN-29 v2 or dlib's from their published weights, or any .onnx file.

An ONNX file is a graph of known operators; running it runs no code of the file. The shape of its input tells the size and
the channels. The order of colours and their range are written nowhere, so the user tells them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icface.arrays import Frame
from icface.engines.backends.onnxruntime import library_errors, open_session
from icface.errors import ConfigError, EngineError
from training.evaluation.animators import resized, to_images
from training.networks.lightcnn import LightCNN29, load_lightcnn

Vectors = NDArray[np.float64]

SUFFIX: Final = ".onnx"
RANGES: Final = {"signed": (-1.0, 1.0), "unit": (0.0, 1.0), "bytes": (0.0, 255.0)}
"""What black and white become."""
COLOURS: Final = {"rgb": 3, "bgr": 3, "gray": 1}
"""Channels of each order."""
SIZES_PX: Final = (16, 1024)
"""Smallest and largest side of an input that is believed."""
_TYPES: Final = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_BATCH: Final = 16
DLIB_SUFFIX: Final = ".dat"
DLIB_PX: Final = 150
DLIB_SHARE: Final = 13 / 16
"""Of our crops, about what dlib's network saw of a face in its training."""
# Tensors outside of the file are entries with this key (ONNX, TensorProto.external_data). ONNX Runtime would look for
# them in the folder that we are started in, and the sha256 of the file would not be that of the network.
_OUTSIDE: Final = re.compile(rb"\x0a\x08location")


def cosines(vectors: Vectors, wanted: Vectors) -> Vectors:
    """(n,) between (n, D) and (1, D); 0 where one is zero, which is like nobody."""
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted, axis=1)
    products = (vectors * wanted).sum(axis=1)
    return np.asarray(np.divide(products, norms, out=np.zeros_like(products), where=norms > 0))


@torch.inference_mode()
def in_batches(network: Callable[..., Tensor], device: str, *stacks: Frame) -> Vectors:
    """What a network gives for stacks of frames (n, S, S, 3), some at a time."""
    found = [
        network(*(to_images(stack[i : i + _BATCH]).to(device) for stack in stacks)).cpu().numpy()
        for i in range(0, len(stacks[0]), _BATCH)
    ]
    return np.concatenate(found).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the user says of a network's input. None leaves it to the file, or to the usual value."""

    range: str | None = None
    """One of RANGES; by default signed, and bytes where the input has whole numbers."""
    colour: str | None = None
    """One of COLOURS; by default rgb, and gray where the input has one channel."""
    size_px: int | None = None
    """Side of the input, where the file leaves it open; by default that of the crops."""


class LightCNN:
    """LightCNN-29 v2, before its classifier."""

    told = "LightCNN-29 v2"
    """For the report."""

    def __init__(self, network: LightCNN29, device: str = "cpu") -> None:
        self._network = network.to(device)
        self._device = device

    def embed(self, frames: Frame) -> Vectors:
        """(n, 256) of frames (n, S, S, 3), not normalised."""
        return in_batches(lambda images: self._network(images).fc, self._device, frames)


class OnnxEmbedder:
    """A network of one input, (1, C, H, W) or (1, H, W, C), and one output, (1, D). The whole crop is scaled to H × W.

    Raises:
        ConfigError: the file cannot be read or run, has its weights elsewhere, or takes or gives something else.
    """

    def __init__(self, path: Path, taken: Taken, crop_px: int) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
        if _OUTSIDE.search(content):
            advice = "save it as one (onnx.save without external data)"
            raise ConfigError(f"{path} has weights in another file; {advice}")
        threads = torch.get_num_threads()
        try:
            self._session: Any = open_session(content, str(path), "CPUExecutionProvider", threads=threads)
        except EngineError as error:
            raise ConfigError(str(error)) from error
        self._path = path
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ConfigError(
                f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; a network with one picture in and one "
                "vector out is needed"
            )
        self._input: str = inputs[0].name
        self._read_input(inputs[0], taken, crop_px)
        width = self._run(np.zeros((crop_px, crop_px, 3), dtype=np.uint8)).shape[1]
        shape = ", ".join(map(str, self._shape))
        self.told = f"ONNX, ({shape}) {self._colour}, {self._range}, to {width} numbers"

    def embed(self, frames: Frame) -> Vectors:
        """(n, D) of frames (n, S, S, 3), not normalised.

        Raises:
            ConfigError: it fails, or gives values that are not numbers.
        """
        # Many networks take one picture at a time.
        found = np.concatenate([self._run(frame) for frame in frames])
        if not np.isfinite(found).all():
            raise ConfigError(f"{self._path} gives values that are not numbers; look at --identity-range")
        return found

    def _read_input(self, port: Any, taken: Taken, crop_px: int) -> None:
        path, shape = self._path, list(port.shape)
        if port.type not in _TYPES:
            raise ConfigError(f"{path} takes {port.type}; one of {', '.join(_TYPES)} is needed")
        self._type = _TYPES[port.type]
        last = len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)
        place = 3 if last else 1
        single = len(shape) == 4 and (not isinstance(shape[0], int) or shape[0] == 1)
        if not single or shape[place] not in (1, 3):
            raise ConfigError(
                f"{path} takes {tuple(shape)}; (1, C, H, W) or (1, H, W, C) is needed, with C 1 or 3, and a name or None "
                "where a size is open"
            )
        self._channels_last = last
        channels: int = shape[place]
        self._colour = taken.colour or ("gray" if channels == 1 else "rgb")
        if COLOURS[self._colour] != channels:
            told = f"--identity-colour {self._colour} does not fit {path}"
            raise ConfigError(f"{told}, which takes {channels} channels")
        whole = self._type is np.uint8
        self._range = taken.range or ("bytes" if whole else "signed")
        if whole and self._range != "bytes":
            raise ConfigError(f"--identity-range {self._range} does not fit {path}, which takes bytes")
        sides = shape[1:3] if last else shape[2:]
        for side in sides:
            if isinstance(side, int) and taken.size_px not in (None, side):
                raise ConfigError(
                    f"--identity-size {taken.size_px} does not fit {path}, which takes {side} pixels"
                )
        height, width = (side if isinstance(side, int) else taken.size_px or crop_px for side in sides)
        least, most = SIZES_PX
        if not (least <= height <= most and least <= width <= most):
            raise ConfigError(f"{path} takes {height} × {width} pixels; {least} to {most} are possible")
        self._size_px = (width, height)
        self._shape = (1, height, width, channels) if last else (1, channels, height, width)

    def _prepared(self, frame: Frame) -> NDArray[Any]:
        """A frame (S, S, 3) as the network takes it."""
        picture = resized(frame, *self._size_px)
        if self._colour == "gray":
            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[..., None]
        elif self._colour == "bgr":
            picture = picture[..., ::-1]
        if self._type is not np.uint8:
            black, white = RANGES[self._range]
            picture = (picture / np.float64(255) * (white - black) + black).astype(self._type)
        placed = picture if self._channels_last else picture.transpose(2, 0, 1)
        return np.ascontiguousarray(placed[None])

    def _run(self, frame: Frame) -> Vectors:
        """(1, D) of one frame."""
        try:
            found = self._session.run(None, {self._input: self._prepared(frame)})[0]
        except library_errors() as error:
            raise ConfigError(f"{self._path} cannot be run: {error}") from error
        if not isinstance(found, np.ndarray) or found.ndim != 2 or found.shape[0] != 1 or found.shape[1] < 2:
            given = getattr(found, "shape", type(found).__name__)
            raise ConfigError(f"{self._path} gives {given}; a vector (1, D) is needed")
        if not np.issubdtype(found.dtype, np.floating):
            raise ConfigError(f"{self._path} gives {found.dtype}; a vector of real numbers is needed")
        return found.astype(np.float64)


class DlibEmbedder:
    """The ResNet-29 of dlib, from its file dlib_face_recognition_resnet_model_v1.dat (CC0), run by dlib itself.

    Raises:
        ConfigError: dlib is not installed, or it cannot read the file.
    """

    told = "dlib's ResNet-29"

    def __init__(self, path: Path) -> None:
        try:
            dlib: Any = importlib.import_module("dlib")
        except ImportError as error:
            raise ConfigError(
                f"{path} is run by dlib, which is not installed: pip install dlib-bin"
            ) from error
        try:
            self._network = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            raise ConfigError(f"{path} is no face recognition network of dlib: {error}") from error

    def embed(self, frames: Frame) -> Vectors:
        """(n, 128) of frames (n, S, S, 3), not normalised."""
        side = frames.shape[1]
        rim = round(side * (1 - DLIB_SHARE) / 2)
        chips = [resized(frame[rim : side - rim, rim : side - rim], DLIB_PX, DLIB_PX) for frame in frames]
        found = [self._network.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips]
        return np.array(found, dtype=np.float64)


Embedder = LightCNN | OnnxEmbedder | DlibEmbedder
"""Frames in, one vector for each person's face out."""


def load_embedder(path: Path, taken: Taken, *, crop_px: int, device: str = "cpu") -> Embedder:
    """The network of a file: an `.onnx` as it is, a `.dat` as dlib's, anything else as weights of LightCNN-29 v2.

    Raises:
        ConfigError: it cannot be used, or `taken` tells of an input that is fixed.
    """
    if path.suffix.lower() == SUFFIX:
        return OnnxEmbedder(path, taken, crop_px)
    of_dlib = path.suffix.lower() == DLIB_SUFFIX
    if taken != Taken():
        known = "dlib's network" if of_dlib else "weights of LightCNN-29 v2"
        raise ConfigError(
            f"--identity-range, --identity-colour and --identity-size are for {SUFFIX} networks; {path} is taken for "
            f"{known}, whose input is known"
        )
    if of_dlib:
        return DlibEmbedder(path)
    return LightCNN(load_lightcnn(path), device)
