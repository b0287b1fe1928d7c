"""Control end to end: the examples of the library, and pictures of which each part comes from where it should."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageSequence

from icface.arrays import Frame
from icface.attributes import INDEX, AttributeTrack, FloatArray, neutral
from icface.face.action_units import measure_attributes
from icface.face.landmarks import open_detector
from icface.tables import read_csv, write_csv
from realtime.cli import main
from tests.e2e.measuring import frames, pad_by_half

SMILE, LIDS, YAW = (INDEX[name] for name in ("AU12", "AU45", "yaw"))


def example(repository: Path, name: str) -> ModuleType:
    """A script of examples/, imported."""
    spec = importlib.util.spec_from_file_location(name, repository / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(*pictures: Frame) -> list[FloatArray]:
    with closing(open_detector(video=False)) as detector:
        return [measure_attributes(detector.detect(pad_by_half(picture))[0]) for picture in pictures]


def table(path: Path, count: int = 6, until: int | None = None, **values: float) -> Path:
    """A driver who holds still like this, and is at rest from frame `until` on."""
    rows = np.stack([neutral()] * count)
    for name, value in values.items():
        rows[:until, INDEX[name]] = value
    track = AttributeTrack(times_s=np.arange(count) / 25, values=rows, present=np.ones(count, bool))
    write_csv(path, track)
    return path


@pytest.mark.slow
def test_the_example_mixes_two_drivers(repository: Path, tmp_path: Path) -> None:
    first = table(tmp_path / "first.csv", yaw=0.65, AU12=0.9, AU01=0.2)
    # A tracker takes part of a smile for crying while the eyes are closed, so they open again.
    second = table(tmp_path / "second.csv", until=3, yaw=0.3, AU45=1.0)
    output = tmp_path / "out.mp4"
    example(repository, "mix_two_clips").mix_two_clips(
        repository / "examples/source.jpg", first, second, output
    )
    shown = list(frames(output))
    assert len(shown) == 6
    closed, opened = measured(shown[2], shown[-1])
    assert closed[YAW] > 0.58 and closed[LIDS] > 0.6
    assert opened[YAW] > 0.58 and opened[SMILE] > 0.4 and opened[LIDS] < 0.3


@pytest.mark.slow
def test_the_example_moves_a_photo_by_numbers_alone(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.webp"
    example(repository, "animate_by_numbers").animate_by_numbers(
        repository / "examples/source.jpg", output, frames=44
    )
    with Image.open(output) as picture:
        shown = [np.array(each.convert("RGB"), dtype=np.uint8) for each in ImageSequence.Iterator(picture)]
    first, aside, smiling = measured(shown[0], shown[19], shown[42])
    assert aside[YAW] > first[YAW] + 0.1
    assert smiling[SMILE] > aside[SMILE] + 0.3


@pytest.mark.slow
def test_a_shorter_driver_lets_go_and_its_track_is_recorded(repository: Path, tmp_path: Path) -> None:
    """The second driver smiles for a fifth of a second. Then the mouth goes back to the photo's own."""
    first, second = table(tmp_path / "first.csv", 40, yaw=0.6), table(tmp_path / "second.csv", 5, AU12=0.9)
    code = main(
        [
            *("--source", str(repository / "examples/source.jpg"), "--driver", str(first)),
            *("--driver", str(second), "--mix", "mouth=2", "--gain", "AU12=0.5", "--null"),
            *("--record-attributes", str(tmp_path / "drove.csv"), "--size", "256"),
        ]
    )
    assert code == 0
    drove = read_csv(tmp_path / "drove.csv").values
    np.testing.assert_allclose(drove[:9, SMILE], 0.45, atol=1e-6)
    assert (np.diff(drove[10:, SMILE]) < 0).all() and drove[-1, SMILE] < 0.1
    np.testing.assert_allclose(drove[:, YAW], 0.6, atol=1e-6)
    assert (tmp_path / "drove.control.jsonl").is_file()


@pytest.mark.slow
def test_a_still_photo_and_a_video_drive_together(repository: Path, tmp_path: Path) -> None:
    """The clip gives the pose, a photo of a face at rest all the rest."""
    code = main(
        [
            *("--source", str(repository / "examples/source.jpg"), "--size", "256", "--null"),
            *("--driver", str(repository / "examples/rendered.jpg"), "--frames", "50"),
            *("--driver", str(repository / "examples/driver.mp4"), "--mix", "pose=2"),
            *("--record-attributes", str(tmp_path / "drove.csv"), "--stats", str(tmp_path / "stats.json")),
        ]
    )
    assert code == 0
    drove = read_csv(tmp_path / "drove.csv").values
    assert len(drove) == 50
    assert np.ptp(drove[:, YAW]) > 0.1
    assert np.ptp(drove[:, 3:20], axis=0).max() == 0.0
