"""Where the person and the hair are in a picture: two networks of MediaPipe (Apache-2.0), run by OpenVINO.

`training/assets/derive_segmenters.py` wrote the files from MediaPipe's own.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.errors import ConfigError
from icface.openvino_core import the_core

Mask = NDArray[np.float32]
"""(H, W) in [0, 1]."""

FOLDER: Final = Path(__file__).parent / "data"
SHA256: Final = {
    "person.onnx": "e3517000d946ab425e8c3bc8bcee5f9f4558e3aca413b4198c1b8107387790ac",
    "hair.onnx": "b7d973aa5450b2561a23cacc7826c2aac8f0be541434347cf06e69c6ae11d6ed",
}


def person_mask(frame: Frame) -> Mask:
    """How sure it is, pixel by pixel, that a picture (H, W, 3) RGB shows a person."""
    return _fitted(_network("person.onnx")(_planes(frame, 256, 3))[0][0, 0], frame)


def hair_mask(frame: Frame) -> Mask:
    """The same for hair on a head."""
    # The fourth plane is the mask of the frame before, in a video.
    background, hair = _network("hair.onnx")(_planes(frame, 512, 4))[0][0]
    return _fitted(1 / (1 + np.exp(np.clip(background - hair, -60, 60))), frame)


def _planes(frame: Frame, side: int, channels: int) -> NDArray[np.float32]:
    planes = np.zeros((1, channels, side, side), dtype=np.float32)
    small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    planes[0, :3] = small.transpose(2, 0, 1) / np.float32(255)
    return planes


def _fitted(mask: NDArray[np.float32], frame: Frame) -> Mask:
    large = cv2.resize(mask, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(large, 0, 1).astype(np.float32)


@lru_cache
def _network(name: str) -> Any:
    """Raises ConfigError where the file is missing or damaged."""
    try:
        content = (FOLDER / name).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {FOLDER / name} ({error.strerror}); install icface-live again"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise ConfigError(f"{FOLDER / name} is damaged; install icface-live again")
    core = the_core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(core.read_model(content), "CPU", settings)
