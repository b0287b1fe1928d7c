"""--follow from the command line: the driver's place is measured, recorded, and replayed to the same pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from realtime.cli import main


def columns(path: Path) -> dict[str, np.ndarray]:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def wandering(path: Path, clip: Path, frames: int = 45) -> None:
    """The clip in a picture that moves to the right from frame 25 on, by 4 pixels a frame."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            picture = frame.to_ndarray(format="rgb24")
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            shift = np.array([[1, 0, 4.0 * max(0, number - 25)], [0, 1, 0]])
            moved = cv2.warpAffine(picture, shift, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(moved, np.uint8), format="rgb24")))
        target.mux(stream.encode(None))


@pytest.mark.slow
def test_the_place_is_recorded_and_replayed_bit_for_bit(repository: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    wandering(clip, repository / "examples/driver.mp4")
    common = ["--source", str(repository / "examples/source.jpg"), "--size", "256"]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    drove = tmp_path / "drove.csv"
    assert main([*common, "--camera", str(clip), "--follow", "--output", str(tmp_path / "first"),
                 "--record-attributes", str(drove)]) == 0  # fmt: skip
    place = columns(drove)["place_x"]
    assert np.abs(place[:25]).max() < 0.1 and place[-1] > 0.2 and (np.diff(place[28:]) > 0).all()
    assert main([*common, "--attributes", str(drove), "--follow", "--output", str(tmp_path / "second")]) == 0
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("first", "second"))
    assert len(first) == len(second) == 45
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(one)), cv2.imread(str(other)))


@pytest.mark.slow
def test_without_follow_there_is_no_place(repository: Path, tmp_path: Path) -> None:
    clip, drove = tmp_path / "clip.mp4", tmp_path / "drove.csv"
    wandering(clip, repository / "examples/driver.mp4", 40)
    photo = str(repository / "examples/source.jpg")
    assert main(["--source", photo, "--camera", str(clip), "--null", "--size", "256",
                 "--record-attributes", str(drove)]) == 0  # fmt: skip
    assert not any(columns(drove)[name].any() for name in ("place_x", "place_y", "place_scale"))
