"""A data set small enough for a test: every picture tells its row, identity and side by its colours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from icface.attributes import AU_NAMES, COUNT
from training.dataset.index import Scale
from training.dataset.writing import TrackData, write_dataset


def picture(identity: int, frame: int, size_px: int) -> NDArray[np.uint8]:
    """(S, S, 3) RGB: red for the identity, green for the frame, blue for the right half alone."""
    result = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    result[..., 0] = 30 + 25 * (identity % 9)
    result[..., 1] = 20 + 12 * (frame % 19)
    result[:, size_px // 2 :, 2] = 220
    return result


def tiny_tracks(
    identities: int, tracks: int, frames: int, size_px: int, presence: int = -1
) -> Iterator[TrackData]:
    """Attributes are random, but the same at every run; yaw and Action Units rise with the frame's number."""
    rng = np.random.default_rng(7)
    for identity in range(identities):
        for clip in range(tracks):
            attributes = rng.uniform(0, 1, (frames, COUNT)).astype(np.float32)
            attributes[:, 1] = np.linspace(0.2, 0.9, frames)
            attributes[:, 3:] *= np.linspace(0.0, 1.0, frames, dtype=np.float32)[:, None]
            pictures = [picture(identity, frame, size_px) for frame in range(frames)]
            yield TrackData(
                name=f"person{identity}/video{clip}/clip#0",
                identity=f"person{identity}",
                video=f"video{clip}",
                fps=25.0,
                jpegs=[
                    cv2.imencode(".jpg", p[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                    for p in pictures
                ],
                attributes=attributes,
                times_s=np.arange(frames, dtype=np.float32) / np.float32(25),
                presence=np.full((frames, len(AU_NAMES)), presence, dtype=np.int8),
            )


def make_tiny_dataset(
    folder: Path,
    identities: int = 4,
    tracks: int = 2,
    frames: int = 6,
    size_px: int = 32,
    shard_bytes: int = 25_000,
    presence: int = -1,
    attribute_scale: Scale = "full-shape",
    validated: int = 0,
) -> Path:
    """Write it; the last quarter of the identities (at least one of several) is for testing.

    `validated` identities before them are for validation.
    """
    names = [f"person{n}" for n in range(identities)]
    tested = max(1, identities // 4) if identities > 1 else 0
    write_dataset(
        folder,
        ([track] for track in tiny_tracks(identities, tracks, frames, size_px, presence)),
        splits={
            "train": tuple(names[: identities - tested - validated]),
            "validation": tuple(names[identities - tested - validated : identities - tested]),
            "test": tuple(names[identities - tested :]),
        },
        size_px=size_px,
        attribute_source="tracker",
        seed=20,
        attribute_scale=attribute_scale,
        shard_bytes=shard_bytes,
    )
    return folder
