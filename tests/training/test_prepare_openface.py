"""Attributes from OpenFace's tables, matched to frames by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icface.attributes import AU_NAMES, FULL_SHAPE_GAIN, INDEX, to_openface
from icface.errors import ConfigError
from training.preparation.frame_folders import in_order
from training.preparation.openface_csv import read_openface


def write_table(
    path: Path,
    rows: int,
    fps: float = 25.0,
    columns: dict[str, list[float]] | None = None,
    padded: bool = True,
) -> Path:
    """A table as FeatureExtraction writes it: names padded with blanks; every value 0 unless given."""
    names = ["frame", "face_id", "timestamp", "confidence", "success", "pose_Rx", "pose_Ry", "pose_Rz"]
    names += [f"{au}_r" for au in AU_NAMES] + [f"{au}_c" for au in AU_NAMES]
    table = {name: [0.0] * rows for name in names}
    table["frame"] = [float(i + 1) for i in range(rows)]
    table["timestamp"] = [i / fps for i in range(rows)]
    table["confidence"] = table["success"] = [1.0] * rows
    table |= columns or {}
    lines = [(", " if padded else ",").join(table)]
    lines += [", ".join(f"{values[i]:g}" for values in table.values()) for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_are_found_by_time(tmp_path: Path) -> None:
    table = read_openface(
        write_table(tmp_path / "a.csv", 10, 25.0, {"pose_Ry": [0.01 * i for i in range(10)]}), 25.0
    )
    assert [table.row_at(t) for t in (0.0, 0.041, 0.09, 0.36)] == [0, 1, 2, 9]
    assert table.row_at(0.39) is None  # the table ends before
    assert table.values[3, INDEX["yaw"]] == pytest.approx((0.03 + 0.7) / 1.4)


def test_frames_without_a_sure_face_are_not_used(tmp_path: Path) -> None:
    columns = {"success": [1, 0, 1, 1], "confidence": [0.98, 0.98, 0.3, 0.7]}
    table = read_openface(write_table(tmp_path / "a.csv", 4, 10.0, columns), 25.0)  # type: ignore[arg-type]
    assert [table.row_at(t) for t in (0.0, 0.1, 0.2, 0.3)] == [0, None, None, 3]


def test_intensities_become_full_shape_and_presence_is_kept(tmp_path: Path) -> None:
    columns = {"AU45_r": [0.0, 1.0], "AU45_c": [0.0, 1.0]}
    table = read_openface(write_table(tmp_path / "a.csv", 2, 25.0, columns, padded=False), 25.0)
    assert table.values[1, INDEX["AU45"]] == pytest.approx(0.2 * FULL_SHAPE_GAIN[AU_NAMES.index("AU45")])
    assert table.presence[:, AU_NAMES.index("AU45")].tolist() == [0, 1]


def test_presence_is_unknown_without_its_columns(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", 2)
    path.write_text(path.read_text().replace("_c", "_other"))
    assert (read_openface(path, 25.0).presence == -1).all()


@pytest.mark.parametrize("value", [np.nan, 0.5, -1.0, 2.0])
def test_a_presence_that_is_neither_0_nor_1_is_refused(tmp_path: Path, value: float) -> None:
    """Taken for absent it would teach the wrong thing, and nobody would know."""
    path = write_table(tmp_path / "a.csv", 3, columns={"AU12_c": [1.0, value, 0.0]})
    with pytest.raises(
        ConfigError, match=rf"a\.csv line 3: column AU12_c is '{value:g}', not 0 or 1"
    ) as caught:
        read_openface(path, 25.0)
    assert "\n" not in str(caught.value)


def test_a_row_that_ends_before_its_presence_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", 2)
    path.write_text(path.read_text().rstrip().rsplit(",", 1)[0])
    with pytest.raises(ConfigError, match=r"line 3: column AU45_c is '', not 0 or 1"):
        read_openface(path, 25.0)


def test_presence_is_unknown_where_openface_saw_no_face(tmp_path: Path) -> None:
    columns = {"success": [1.0, 0.0], "AU12_c": [1.0, np.nan]}
    table = read_openface(write_table(tmp_path / "a.csv", 2, columns=columns), 25.0)
    assert table.presence[:, AU_NAMES.index("AU12")].tolist() == [1, -1]
    assert table.row_at(0.04) is None


def test_a_table_of_several_faces_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", 4, columns={"face_id": [0, 1, 0, 1]})
    with pytest.raises(ConfigError, match="rows of several faces"):
        read_openface(path, 25.0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"AU12_r": [0.0, np.nan]}, "line 3: column AU12_r is not a number"),
        ({"timestamp": [0.4, 0.0]}, "timestamp runs backwards"),
    ],
)
def test_tables_that_make_no_sense_are_refused(
    tmp_path: Path, columns: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_openface(write_table(tmp_path / "a.csv", 2, columns=columns), 25.0)


def test_a_confidence_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv", 2)
    head, *rows = path.read_text().splitlines()
    cells = rows[0].split(", ")
    cells[3] = "high"
    path.write_text("\n".join([head, ", ".join(cells), rows[1]]))
    with pytest.raises(ConfigError, match="line 2: column confidence is not a number"):
        read_openface(path, 25.0)


def test_one_row_is_right_for_any_moment(tmp_path: Path) -> None:
    assert read_openface(write_table(tmp_path / "a.csv", 1), 25.0).row_at(3.0) == 0


def test_strong_movements_keep_openfaces_number(tmp_path: Path) -> None:
    columns = {"AU45_r": [0.0, 3.0], "AU12_r": [7.0, 4.0]}
    table = read_openface(write_table(tmp_path / "a.csv", 2, columns=columns), 25.0)
    values = to_openface(table.values)
    np.testing.assert_allclose(values[:, INDEX["AU45"]], [0.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(values[:, INDEX["AU12"]], [1.0, 0.8], rtol=1e-6)  # OpenFace's own end is 5


def pictures_at(*times_s: float) -> list[tuple[float, Path]]:
    """As `in_order` gives them."""
    return [(time_s, Path(f"{25 * time_s:06.0f}.png")) for time_s in times_s]


def test_rows_of_pictures_in_their_order(tmp_path: Path) -> None:
    """OpenFace read a folder of three: its timestamps mean nothing, the order does."""
    pictures = pictures_at(1.0, 2.0, 5.0)
    table = read_openface(write_table(tmp_path / "a.csv", 3, 30.0), 25.0).of_pictures(pictures, 25.0)
    assert [table.row_at(t) for t in (0.0, 1.0, 4.0)] == [0, 1, 2]


@pytest.mark.parametrize(
    "names",
    [
        [f"frame{number}.png" for number in (1, 2, 3, 10, 11, 12)],
        [f"{seconds}.jpg" for seconds in ("1.5", "2.5", "3.5", "10.5", "11.5", "12.5")],
    ],
)
def test_rows_of_pictures_that_openface_read_in_another_order(tmp_path: Path, names: list[str]) -> None:
    """It takes names as text: 1, 10, 11, 12, 2, 3. The row of each says the number of its picture."""
    for name in names:
        (tmp_path / name).touch()
    columns = {
        "AU12_r": [0.1, 1.0, 1.1, 1.2, 0.2, 0.3],
        "AU12_c": [0, 0, 0, 0, 1, 0],
        "success": [1, 1, 1, 1, 1, 0],
    }
    path = write_table(tmp_path / "a.csv", 6, columns=columns)  # type: ignore[arg-type]
    table = read_openface(path, 25.0).of_pictures(in_order(tmp_path, 25.0), 25.0)
    found = to_openface(table.values)[:, INDEX["AU12"]] * 5
    np.testing.assert_allclose(found[table.usable], [0.1, 0.2, 1.0, 1.1, 1.2], rtol=1e-5)
    assert table.usable.tolist() == [True, True, False, True, True, True]
    assert table.presence[:, AU_NAMES.index("AU12")].tolist() == [0, 1, -1, 0, 0, 0]
    assert (np.diff(table.times_s) > 0).all()


def test_rows_of_the_video_that_pictures_were_cut_from(tmp_path: Path) -> None:
    """Pictures 25 and 50 at 25 frames a second are rows 24 and 49 of their video's table."""
    path = write_table(tmp_path / "a.csv", 60)
    table = read_openface(path, 25.0).of_pictures(pictures_at(1.0, 2.0), 25.0)
    assert [table.row_at(t) for t in (0.0, 1.0)] == [24, 49]
    path.write_text(path.read_text().replace("frame,", "number,", 1))
    with pytest.raises(ConfigError, match="60 rows for 2 pictures and no column `frame`; let OpenFace read"):
        read_openface(path, 25.0).of_pictures(pictures_at(1.0, 2.0), 25.0)
