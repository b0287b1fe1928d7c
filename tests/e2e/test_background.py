"""--background and --framing call from the command line, down to files that are decoded again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from icface.attributes import INDEX, AttributeTrack, neutral
from icface.face.landmarks import open_detector
from icface.images import load_photo
from icface.tables import write_csv
from realtime.cli import main


@pytest.fixture
def track(tmp_path: Path) -> Path:
    """Four frames: the head turns and the mouth opens."""
    values = np.stack([neutral()] * 4)
    values[:, INDEX["yaw"]] = [0.5, 0.6, 0.7, 0.7]
    values[:, INDEX["AU26"]] = [0, 0.3, 0.6, 0.9]
    path = tmp_path / "drive.csv"
    write_csv(path, AttributeTrack(times_s=np.arange(4) / 25, values=values, present=np.ones(4, bool)))
    return path


@pytest.mark.slow
def test_a_wide_transparent_picture_reaches_every_kind_of_file(
    repository: Path, tmp_path: Path, track: Path
) -> None:
    pictures, film = tmp_path / "pictures", tmp_path / "out.mov"
    pictures.mkdir()
    photo = str(repository / "examples/source.jpg")
    assert main(["--source", photo, "--attributes", str(track), "--framing", "call",
                 "--background", "transparent", "--output", str(film), "--output", str(pictures)]) == 0  # fmt: skip
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgba") for frame in container.decode(video=0)]
        assert "ICface Live" in container.metadata["comment"]
    files = sorted(pictures.iterdir())
    assert len(frames) == len(files) == 4
    for frame, file in zip(frames, files, strict=True):
        with Image.open(file) as image:
            exact = np.asarray(image)
        assert exact.shape == frame.shape == (720, 1280, 4)
        assert np.abs(frame[..., 3].astype(int) - exact[..., 3]).max() <= 4
        assert not exact[:200, :200, 3].any() and not exact[:200, -200:, 3].any()
        assert (exact[200:400, 600:680, 3] == 255).all(), "the face"
        assert (exact[-3:, 500:780, 3] == 255).all(), "the bust, down to the lower border"
        assert exact[-60:, -80:, 3].max() > 200, "the mark"
    assert np.abs(frames[0].astype(int) - frames[3]).mean() > 1


@pytest.mark.slow
def test_a_source_whose_background_cannot_be_replaced_ends_in_one_line(
    repository: Path, tmp_path: Path, track: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = load_photo(repository / "examples/source.jpg").frame
    with closing(open_detector(video=False)) as detector:
        points = detector.detect(photo)[0].points_px[:, :2]
    x0, y0 = np.round(points.min(axis=0)).astype(int)
    x1, y1 = np.round(points.max(axis=0)).astype(int)
    tight = tmp_path / "tight.png"  # a face without any background
    Image.fromarray(photo[y0 - 20 : y1 + 20, x0 + 15 : x1 - 15]).save(tight)
    output = tmp_path / "out.mp4"
    code = main(
        ["--source", str(tight), "--attributes", str(track), "--background", "blur", "--output", str(output)]
    )
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert code == 1 and len(error) == 1 and "tight.png" in error[0] and "--background keep" in error[0]
    assert not output.exists()
