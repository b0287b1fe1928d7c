"""The golden tensors of the edge family: inputs made from noise, and the frames that every engine must make of them."""

from __future__ import annotations

import copy
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from export.correction_graph import CORRECTION_SHAPES
from icface.arrays import Frame, Tensors
from icface.bundle import GEOMETRY
from icface.errors import ConfigError
from icface.geometry.contract import CALMED
from icface.geometry.patch import PATCH_PX, SUPERSAMPLING, finer
from icface.geometry.raster import EDGE_FROM_PX, EDGE_PX, NO_OPENING
from icface.networks.patch import PatchCorrector
from icface.quality import psnr_db

LEAST_CHANGE_DB: Final = 38.0
"""A golden frame that is closer to geometry alone would not tell an engine that leaves the network out: 45 dB pass."""
GOLDEN_CONDITIONS: Final = ((21, 1.5), *((seed, 3.0) for seed in range(22, 45)))
"""Seeds of the conditions, and how many deviations they spread to either side. The first does for a network that was
trained on many; a tuned one may hardly answer to it."""
GOLDEN_SIZE_PX = (88, 72)
"""(width, height) of the golden frame. The picture that it reads is larger, so that positions are told finer apart."""


def golden_inputs() -> dict[str, NDArray[Any]]:
    """A smooth picture, bent maps with an edge, and soft weights. They are small, and the frame is sensitive to each."""
    width_px, height_px = GOLDEN_SIZE_PX
    rng = np.random.default_rng(20)

    def picture(height: int, width: int, channels: int = 3) -> Frame:
        noise = rng.integers(0, 255, (height // 8 + 2, width // 8 + 2, channels), dtype=np.uint8)
        return np.ascontiguousarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))

    skin = picture(224, 256, 4)
    # Half of it hides the plate. The other half is multiplied by its alpha.
    skin[:, 128:, 3] = 255
    skin[..., :3] = skin[..., :3] * (skin[..., 3:] / 255)

    y, x = np.mgrid[:height_px, :width_px].astype(np.float32)
    # Steps of 1/32 pixel, which every engine hits exactly.
    bend_x = np.round((7 * np.sin(y / 11)) * 32) / 32
    bend_y = np.round((5 * np.cos(x / 7)) * 32) / 32
    distance = np.hypot(x - 45, y - 45)
    alpha = np.clip((24 - distance) * 40, 0, 255).astype(np.uint8)
    edge = np.where(np.abs(x - 12) + np.abs(y - 58) < 9, 24, 0)
    return {
        "skin": skin,
        "plate": picture(height_px, width_px),
        "inner": picture(64, 48),
        "skin_map": np.stack([x * 2.90625 + bend_x + edge, y * 3.09375 + bend_y], axis=-1).astype(np.float32),
        "inner_map": np.stack([x * 0.5, y * 0.5], axis=-1).astype(np.float32),
        "inner_alpha": alpha,
        "inner_shade": np.clip(120 + y, 0, 255).astype(np.uint8),
        "regions": np.array([[20, 20, 70, 70]], dtype=np.int32),
    }


def golden_correction_inputs(network: PatchCorrector, seed: int, reach: float) -> dict[str, NDArray[Any]]:
    """A patch that covers most of the golden frame, turned a little, and conditions as the network was trained with."""
    turn, scale = 0.2, 64 / PATCH_PX
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = [44.0, 37.0] - linear @ np.full(2, (PATCH_PX - 1) / 2)
    spread = np.random.default_rng(seed).uniform(-reach, reach, CORRECTION_SHAPES["conditions"])
    mean, deviation = (value.numpy() for value in (network.mean, network.deviation))
    return {
        "patch_to_frame": np.column_stack([linear, offset]).astype(np.float32),
        "conditions": (mean + spread * deviation).astype(np.float32),
        "gates": np.array([[1.0, 0.75, 0.875]], dtype=np.float32),
    }


def reference_correction(geometry: Frame, inputs: Tensors, network: PatchCorrector) -> Frame:
    """The contract of the correction in float64, from the frame that geometry made."""
    seen = np.dstack([geometry, np.where(inputs["inner_shade"] == NO_OPENING, 0, inputs["inner_alpha"])])
    where = inputs["patch_to_frame"].astype(np.float64)
    side = SUPERSAMPLING * PATCH_PX
    fine = np.floor(_sample(seen, _positions(finer(where), (side, side))) + 0.5)
    patch = fine.reshape(PATCH_PX, SUPERSAMPLING, PATCH_PX, SUPERSAMPLING, 4).mean(axis=(1, 3))
    planes = torch.from_numpy(np.floor(patch + 0.5) / 255).permute(2, 0, 1)[None]
    told = (torch.from_numpy(inputs[name]).double() for name in ("conditions", "gates"))
    with torch.no_grad():
        keep, add = copy.deepcopy(network).double()(planes, *told)
    changes = torch.cat([keep - 1, 255 * add], dim=1)[0].permute(1, 2, 0).numpy()
    back = cv2.invertAffineTransform(where)
    # A rim of nothing around the patch, so that it fades within a pixel.
    positions = _positions(back, geometry.shape[:2]) + 1
    changed = _sample(np.pad(changes, ((1, 1), (1, 1), (0, 0))), positions)
    person = _sample(inputs["skin"], inputs["skin_map"])[..., 3:] / 255
    frame = geometry + person * (geometry * changed[..., :1] + changed[..., 1:])
    return np.clip(np.floor(frame + 0.5), 0, 255).astype(np.uint8)


def golden_correction(geometry: Tensors, network: PatchCorrector) -> dict[str, NDArray[Any]]:
    """The golden tensors of geometry alone, with the network's inputs, and the frame that it corrects.

    Raises:
        ConfigError: the network hardly changes it.
    """
    best: dict[str, NDArray[Any]] = {}
    best_db = np.inf
    for seed, reach in GOLDEN_CONDITIONS:
        found = {**geometry, **golden_correction_inputs(network, seed, reach), GEOMETRY: geometry["frame"]}
        found["frame"] = reference_correction(geometry["frame"], found, network)
        db = psnr_db(found["frame"], geometry["frame"])
        if db < best_db:
            best, best_db = found, db
        if best_db <= LEAST_CHANGE_DB:
            break
    if best_db > LEAST_CHANGE_DB:
        raise ConfigError(
            f"the network hardly changes the golden frame ({best_db:.0f} dB); train it for longer"
        )
    return best


def golden_calmed(golden: Tensors, neutraliser: PatchCorrector) -> dict[str, NDArray[Any]]:
    """A patch made from noise, and what a neutraliser makes of it with the golden conditions and gates, in float64."""
    noise = np.random.default_rng(23).integers(0, 255, (PATCH_PX // 8, PATCH_PX // 8, 4), dtype=np.uint8)
    patch = cv2.resize(noise, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_CUBIC)[np.newaxis]
    planes = torch.from_numpy(patch).double().permute(0, 3, 1, 2) / 255
    told = (torch.from_numpy(golden[name]).double() for name in ("conditions", "gates"))
    with torch.no_grad():
        keep, add = copy.deepcopy(neutraliser).double()(planes, *told)
    calmed = torch.cat([keep, 255 * add], dim=1).permute(0, 2, 3, 1).float()
    return {"patch": patch, CALMED: calmed.contiguous().numpy()}


def _positions(affine: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(H, W, 2) where an affine (2, 3) takes the pixels of a picture."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    return np.asarray(np.stack([x, y], axis=-1) @ affine[:, :2].T + affine[:, 2])


def _sample(image: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.float64]:
    """A picture (h, w, C) read bilinearly at (H, W, 2), borders repeated."""
    height, width = image.shape[:2]
    x = np.clip(positions[..., 0].astype(np.float64), 0, width - 1)
    y = np.clip(positions[..., 1].astype(np.float64), 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    pixels = image.astype(np.float64)
    top = pixels[y0, x0] * (1 - fx) + pixels[y0, x0 + 1] * fx
    bottom = pixels[y0 + 1, x0] * (1 - fx) + pixels[y0 + 1, x0 + 1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


def reference_frame(inputs: Tensors) -> Frame:
    """The contract in float64 NumPy, which every engine is held to."""

    def smoothed(front: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.float64]:
        jump = np.zeros(positions.shape[:2])
        across, down = (
            np.abs(np.diff(positions.astype(np.float64), axis=axis)).max(axis=2) for axis in (1, 0)
        )
        for part, step in (
            (jump[:, :-1], across),
            (jump[:, 1:], across),
            (jump[:-1], down),
            (jump[1:], down),
        ):
            np.maximum(part, step, out=part)
        share = np.clip((jump - EDGE_FROM_PX) / (EDGE_PX - EDGE_FROM_PX), 0, 1)[..., None]
        around = np.pad(front, ((1, 1), (1, 1), (0, 0)), mode="edge")
        rows = around[:-2] + 2 * around[1:-1] + around[2:]
        average = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
        return np.asarray(front + (average - front) * share)

    alpha = inputs["inner_alpha"].astype(np.float64)[..., None] / 255
    shade = inputs["inner_shade"].astype(np.float64)[..., None] / 255
    person, behind = (
        _sample(inputs["skin"], inputs["skin_map"]),
        _sample(inputs["inner"], inputs["inner_map"]),
    )
    front = person[..., :3] + inputs["plate"] * (1 - person[..., 3:] / 255)
    front = smoothed(front, inputs["skin_map"])
    return np.floor(front * (1 - alpha) + behind * shade * alpha + 0.5).astype(np.uint8)
