"""A small data set of real pictures: crops of the example clip, cut in two, as if they were two people."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np

from icface.attributes import AU_NAMES
from icface.face.action_units import population
from icface.face.alignment import align
from icface.face.landmarks import open_detector
from icface.images import cut_crop
from training.dataset.writing import TrackData, write_dataset
from training.preparation.calibrate import Measured, attributes_of, learn_baseline


def make_clip_dataset(folder: Path, clips: Sequence[Path], *, every: int = 8, size_px: int = 128) -> Path:
    """Write it: each clip gives two identities to test on, its first and its second half."""
    names = []
    tracks = []
    for clip in clips:
        for part, track in enumerate(_halves(clip, every, size_px)):
            names.append(f"{clip.stem}{part}")
            tracks.append(track)
    write_dataset(
        folder,
        [tracks],
        splits={"train": (), "test": tuple(names)},
        size_px=size_px,
        attribute_source="tracker",
        seed=20,
    )
    return folder


def _halves(clip: Path, every: int, size_px: int) -> list[TrackData]:
    faces, crops, times = [], [], []
    with av.open(str(clip)) as container, closing(open_detector(video=True)) as detector:
        for index, picture in enumerate(container.decode(video=0)):
            frame = np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8)
            sight = detector.detect(frame, index / 30)
            if index % every or not sight:
                continue
            faces.append(sight[0])
            crops.append(cut_crop(frame, align(sight[0], size_px), size_px))
            times.append(index / 30)
    measured = Measured.of(faces, np.array(times))
    attributes = attributes_of(measured, learn_baseline([measured], population()))
    middle = len(crops) // 2
    return [
        TrackData(
            name=f"{clip.stem}{part}/video/clip#0",
            identity=f"{clip.stem}{part}",
            video="video",
            fps=30.0 / every,
            jpegs=[
                cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
                for crop in crops[rows]
            ],
            attributes=attributes[rows],
            times_s=np.array(times[rows], dtype=np.float32),
            presence=np.full((len(crops[rows]), len(AU_NAMES)), -1, dtype=np.int8),
        )
        for part, rows in enumerate((slice(0, middle), slice(middle, None)))
    ]
