"""Pairs of patches on disk: what geometry made of a photo, and the photo of the same face that it should look like.

A folder has `index.json`, and of each set `NAME.pixels.npy` (N, 216, 216, 7) uint8 (RGB of the target, RGB of the warped
frame, inner alpha), `NAME.conditions.npy` (N, 28) float32 and `NAME.csv`, a row a record.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import cv2
import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from icface.arrays import Array
from icface.errors import ConfigError
from icface.geometry.patch import CONDITIONS, MEASURE_NAMES, MEASURES, PATCH_IOD, PATCH_PX
from training.learning.patch.config import PatchSamplingConfig

INDEX_FILE: Final = "index.json"
STORED_PX: Final = 216
CHANNELS: Final = 7
SHARP_IOD_PX: Final = 70.0
"""Photos with fewer pixels between the eyes do not teach the judge what a real mouth looks like."""
UNREAL_KINDS: Final = ("opened", "render")
"""Kinds of records whose target is no photo of a mouth."""
_MOST_GAIN: Final = 4 / 3
_LIGHT_PX: Final = 28.0
"""Sigma of what counts as light, in pixels of the patch."""
_LIGHT_CELL_PX: Final = 8

_SIDES: Final = [MEASURE_NAMES.index(f"{side}_gap") for side in ("right", "left")]
_GAP: Final = MEASURE_NAMES.index("mouth_gap")
_BROWS: Final = [
    MEASURE_NAMES.index(f"{side}_{name}") for side in ("right", "left") for name in ("brow", "inner_brow")
]


class SetEntry(Struct, kw_only=True):
    """A set of the index."""

    count: int
    kind: str
    files: dict[str, str]


class PairsIndex(Struct, kw_only=True):
    """`index.json`."""

    format_version: Annotated[int, Meta(ge=1, le=1)]
    patch_px: int
    stored_px: int
    patch_iod: float
    sets: dict[str, SetEntry]


class PairSet(NamedTuple):
    """One set, mapped into memory."""

    name: str
    pixels: NDArray[np.uint8]
    conditions: NDArray[np.float32]
    rows: list[dict[str, str]]


def read_index(folder: Path) -> PairsIndex:
    """The index of a folder of pairs.

    Raises:
        ConfigError: there is none, or it is of other patches.
    """
    path = folder / INDEX_FILE
    try:
        index = msgspec.json.decode(path.read_bytes(), type=PairsIndex)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    found, wanted = (index.patch_px, index.stored_px, index.patch_iod), (PATCH_PX, STORED_PX, PATCH_IOD)
    if found != wanted:
        raise ConfigError(f"{path} is of patches {found}, not {wanted}; make the pairs anew")
    return index


def read_set(folder: Path, name: str) -> PairSet:
    """Open a set.

    Raises:
        ConfigError: a file is missing, or does not fit the others.
    """
    try:
        pixels = np.load(folder / f"{name}.pixels.npy", mmap_mode="r", allow_pickle=False)
        conditions = np.load(folder / f"{name}.conditions.npy", allow_pickle=False)
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the set {name} in {folder}: {error}") from error
    count = len(rows)
    if pixels.shape != (count, STORED_PX, STORED_PX, CHANNELS) or conditions.shape != (count, CONDITIONS):
        raise ConfigError(
            f"the set {name} in {folder} has {count} rows, pixels {pixels.shape} and conditions {conditions.shape}; "
            "make it anew"
        )
    return PairSet(name, pixels, conditions.astype(np.float32), rows)


def mirrored_conditions(conditions: NDArray[np.float32]) -> NDArray[np.float32]:
    """The conditions (28,) of the mirrored face: right and left change places, and yaw its sign."""
    result = conditions.copy()
    right, left = _SIDES
    for start in (0, MEASURES):
        result[start + right : start + left] = conditions[start + left : start + MEASURES]
        result[start + left : start + MEASURES] = conditions[start + right : start + left]
    result[-1] = -conditions[-1]
    return result


def interest(conditions: NDArray[np.float32]) -> Array:
    """How often a record is drawn, (N, 28) to (N,): wide mouths, closing lids and moved brows more often."""
    gap, gap_of_photo = conditions[:, _GAP], conditions[:, MEASURES + _GAP]
    lids, lids_of_photo = conditions[:, _SIDES], conditions[:, [MEASURES + side for side in _SIDES]]
    brows = np.abs(conditions[:, _BROWS] - conditions[:, [MEASURES + brow for brow in _BROWS]]).max(axis=1)
    closure = (1 - lids / np.maximum(lids_of_photo, 0.02)).clip(0, 1).max(axis=1)
    result: Array = (
        0.35
        + (gap / 0.06).clip(0, 1.5)
        + 3 * ((gap - 0.09) / 0.08).clip(0, 1)
        + 0.6 * (gap_of_photo / 0.06).clip(0, 1)
        + 1.5 * closure
        + 1.2 * ((brows - 0.015) / 0.04).clip(0, 1)
    )
    return result


class PatchPairs(Dataset[dict[str, Tensor]]):
    """Pairs to train on. An item depends on the seed and its number alone.

    An item has `target` (3, 192, 192) and `patch` (4, 192, 192) uint8, `conditions` (28,) float32, and `real`, 1 where
    the target is a photo of a mouth, sharp enough to learn from.

    Raises:
        ConfigError: the folder cannot be read, or the settings name a set that it lacks.
    """

    def __init__(self, folder: Path, config: PatchSamplingConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        index = read_index(folder)
        shares = config.shares or {name: float(entry.count) for name, entry in index.sets.items()}
        missing = sorted(set(shares) - set(index.sets))
        if missing:
            raise ConfigError(
                f"{folder} has no set {', '.join(missing)}, which sampling.shares names; it has {', '.join(index.sets)}"
            )
        self._sets = [read_set(folder, name) for name, share in shares.items() if share > 0]
        self._first = np.cumsum([0, *(len(part.rows) for part in self._sets)])
        chances = []
        for part in self._sets:
            weight = interest(part.conditions)
            error = np.array([float(row["error"]) for row in part.rows])
            weight = weight * (error <= np.quantile(error, 1 - config.dropped))
            chances.append(shares[part.name] * weight / weight.sum())
        chance = np.concatenate(chances)
        self._below = np.cumsum(chance / chance.sum())
        self._real = np.concatenate([_real(part) for part in self._sets])
        self._opened = np.concatenate([[row["kind"] == "opened" for row in part.rows] for part in self._sets])
        conditions = np.concatenate([part.conditions for part in self._sets])
        self.mean = torch.from_numpy(conditions.mean(axis=0))
        self.deviation = torch.from_numpy(conditions.std(axis=0) + np.float32(1e-3))

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self._seed, number))
        record = min(int(np.searchsorted(self._below, rng.random(), side="right")), len(self) - 1)
        which = int(np.searchsorted(self._first, record, side="right")) - 1
        part, row = self._sets[which], record - int(self._first[which])
        shown_target = bool(self._opened[record]) and rng.random() < self._config.shown_target
        pixels, conditions = part.pixels[row], part.conditions[row]
        target, patch = varied(pixels, self._config, rng, shown_target=shown_target)
        if rng.random() < 0.5:
            target, patch = target[:, ::-1], patch[:, ::-1]
            conditions = mirrored_conditions(conditions)
        return {
            "target": as_planes(target),
            "patch": as_planes(patch),
            "conditions": torch.from_numpy(conditions),
            "real": torch.tensor(self._real[record], dtype=torch.float32),
        }


def as_planes(picture: NDArray[np.uint8]) -> Tensor:
    """(H, W, C) to (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def _real(part: PairSet) -> Array:
    return np.array(
        [row["kind"] not in UNREAL_KINDS and float(row["iod_px"]) >= SHARP_IOD_PX for row in part.rows],
        dtype=np.float32,
    )


def varied(
    pixels: NDArray[np.uint8], config: PatchSamplingConfig, rng: np.random.Generator, *, shown_target: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Target (192, 192, 3) and patch (192, 192, 4) of a stored record, cut out and changed in the same random way."""
    room = (STORED_PX - PATCH_PX) // 2
    down, right = room + rng.integers(-config.jitter_px, config.jitter_px + 1, 2)
    cut = np.ascontiguousarray(pixels[down : down + PATCH_PX, right : right + PATCH_PX])
    target, warped = cut[..., :3], cut[..., 3:6]
    inner = np.ascontiguousarray(cut[..., 6])
    if shown_target:
        warped = target
    else:
        target = relit(target, warped, inner)
    sigma = float(rng.uniform(0.4, 1.6)) if rng.random() < config.blurred else 0.0
    gamma = float(np.exp(rng.normal(0, 0.15)))
    colour = np.exp(rng.normal(0, 0.12) + 0.5 * rng.normal(0, 0.12, 3))
    table = _table(gamma, colour)
    target, warped = (_changed(picture, sigma, table) for picture in (target, warped))
    return target, np.dstack([warped, inner])


def _changed(picture: NDArray[np.uint8], sigma: float, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = np.ascontiguousarray(picture)
    softer = cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0 else picture
    return np.asarray(cv2.LUT(softer, table), dtype=np.uint8)


def relit(
    target: NDArray[np.uint8], warped: NDArray[np.uint8], inner: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The target (192, 192, 3) in the light of the warped frame: broad parts of its skin get that one's colour.

    Two photos of a face differ in their light, also from cheek to cheek. Without this the network learns to change it,
    and the face dims at each blink. Folds and lips are much smaller than what is matched here, and stay.
    """
    skin = _SKIN * (1 - cv2.dilate(inner, np.ones((9, 9), np.uint8)).astype(np.float32) / 255)
    small = (PATCH_PX // _LIGHT_CELL_PX,) * 2

    def broad(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells = cv2.resize(picture * skin[..., None], small, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(cells, (0, 0), _LIGHT_PX / _LIGHT_CELL_PX)
        # Where no skin is near, all of it counts.
        result: NDArray[np.float32] = (blurred + 0.05 * cells.mean(axis=(0, 1)) + 1e-3).astype(np.float32)
        return result

    gain = (broad(warped) / broad(target)).clip(1 / _MOST_GAIN, _MOST_GAIN)
    every = cv2.resize(gain, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.convertScaleAbs(target * every), dtype=np.uint8)


def _table(gamma: float, colour: Array) -> NDArray[np.uint8]:
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    changed = levels**gamma * colour
    return np.round(changed.clip(0, 1) * 255).astype(np.uint8)[None]


def face_ellipse(soft: float = 0.25) -> NDArray[np.float32]:
    """(192, 192): 1 on the face, falling to 0 at hair and background."""
    rows, columns = np.mgrid[:PATCH_PX, :PATCH_PX].astype(np.float32)
    distance = np.hypot((columns - (PATCH_PX - 1) / 2) / 74, (rows - 104) / 88)
    result: NDArray[np.float32] = ((1 + soft - distance) / (2 * soft)).clip(0, 1).astype(np.float32)
    return result


_SKIN: Final = face_ellipse()
