"""Tables of attributes: every kind of CSV that OpenFace, a spreadsheet or we write, and what is said of a wrong one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from icface import attributes as fa
from icface.errors import ConfigError
from icface.tables import read_csv, write_csv

OPENFACE_HEADER = [
    "frame", "timestamp", "success", "pose_Rx", "pose_Ry", "pose_Rz",
    *(f"{name}_r" for name in fa.AU_NAMES),
]  # fmt: skip


def write_rows(path: Path, header: list[str], *rows: list[str], pad: str = "") -> Path:
    """A CSV with every header cell but the first padded, as OpenFace does."""
    head = [header[0], *(pad + name for name in header[1:])]
    path.write_text("\n".join(",".join(cells) for cells in [head, *rows]) + "\n", encoding="utf-8")
    return path


def openface_row(frame: int, timestamp: str, success: int = 1, **values: float) -> list[str]:
    """One OpenFace line; columns not named are 0."""
    measured = (str(values.get(name, 0.0)) for name in OPENFACE_HEADER[3:])
    return [str(frame), timestamp, str(success), *measured]


def test_reads_openface_with_padded_names(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "drive.csv",
        OPENFACE_HEADER,
        openface_row(1, "10.00", pose_Rx=0.14, AU12_r=1.0, AU45_r=1.4),
        openface_row(2, "10.04", 0),
        pad=" ",
    )
    track = read_csv(path)
    assert len(track) == 2
    np.testing.assert_allclose(track.times_s, [0.0, 0.04], atol=1e-9)
    np.testing.assert_array_equal(track.present, [True, False])
    assert track.values[0, fa.INDEX["pitch"]] == pytest.approx(0.6)
    assert track.values[0, fa.INDEX["AU12"]] == pytest.approx(1.0 / 5 * 2.2)
    assert track.values[0, fa.INDEX["AU45"]] == 1.0  # 1.4 / 5 × 3.6 = 1.008
    np.testing.assert_array_equal(track.values[1], track.values[0], "a row without a face holds the last")
    assert not track.filled


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    header = [*reversed(OPENFACE_HEADER), "confidence"]
    row = [*reversed(openface_row(1, "0", pose_Ry=-0.7, AU26_r=5.0)), "0.98"]
    track = read_csv(write_rows(tmp_path / "drive.csv", header, row))
    assert track.values[0, fa.INDEX["yaw"]] == 0.0
    assert track.values[0, fa.INDEX["AU26"]] == 1.0


def test_without_timestamps_the_rate_gives_the_time(tmp_path: Path) -> None:
    header = [*fa.NAMES]
    row = ["0.5"] * 20
    track = read_csv(write_rows(tmp_path / "drive.csv", header, row, row, row), fps=50.0)
    np.testing.assert_allclose(track.times_s, [0.0, 0.02, 0.04])
    assert track.present.all()


def test_byte_order_mark_and_blank_lines_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    text = ",".join(fa.NAMES) + "\n" + ",".join(["0.25"] * 20) + "\n\n , \n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    track = read_csv(path)
    assert len(track) == 1
    np.testing.assert_array_equal(track.values[:, :20], np.full((1, 20), 0.25))
    np.testing.assert_array_equal(track.values[:, 20:], 0, "what a file lacks is neutral")


def test_extensions_are_read_by_name_and_clamped(tmp_path: Path) -> None:
    header = ["gaze_yaw", *fa.NAMES, "AU12_side", "AU18"]
    row = ["-0.5", *["0.5"] * 20, "-7", "-1"]
    values = read_csv(write_rows(tmp_path / "drive.csv", header, row)).values[0]
    read = dict(zip(fa.ALL_NAMES, values.tolist(), strict=True))
    assert {name: read[name] for name in fa.EXTENSIONS if read[name]} == {"gaze_yaw": -0.5, "AU12_side": -1.0}


def test_an_extension_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "drive.csv", [*fa.NAMES, "gaze_yaw"], [*["0.5"] * 20, "left"])
    with pytest.raises(ConfigError, match="line 2: column gaze_yaw is not a number"):
        read_csv(path)


@pytest.mark.parametrize("number", ["nan", "NaN", "inf", "-inf", "", "abc"])
def test_what_is_no_number_names_line_and_column(tmp_path: Path, number: str) -> None:
    row = openface_row(2, "0.04")
    row[OPENFACE_HEADER.index("AU12_r")] = number
    path = write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, openface_row(1, "0"), row)
    with pytest.raises(ConfigError, match=r"drive\.csv line 3: column AU12_r is not a number"):
        read_csv(path)


def test_a_line_that_ends_early_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, openface_row(1, "0"), ["2", "0.04", "1"])
    with pytest.raises(ConfigError, match="line 3: column pose_Rx is not a number"):
        read_csv(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    header = [name for name in OPENFACE_HEADER if name not in ("pose_Ry", "AU45_r")]
    path = write_rows(tmp_path / "drive.csv", header, ["0"] * len(header))
    with pytest.raises(ConfigError, match="lacks the columns pose_Ry, AU45_r"):
        read_csv(path)


def test_time_must_not_run_backwards(tmp_path: Path) -> None:
    rows = [openface_row(i + 1, time) for i, time in enumerate(["0.00", "0.04", "0.03"])]
    path = write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, *rows)
    with pytest.raises(ConfigError, match="line 4: timestamp runs backwards"):
        read_csv(path)


@pytest.mark.parametrize("text", ["", ",".join(OPENFACE_HEADER) + "\n", ",".join(OPENFACE_HEADER) + "\n\n\n"])
def test_a_table_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "drive.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match="has no rows"):
        read_csv(path)


def test_a_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read attributes"):
        read_csv(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80\x81")
    with pytest.raises(ConfigError, match="cannot read attributes"):
        read_csv(tmp_path / "binary.csv")


def test_a_folder_that_is_missing_is_refused_when_writing(tmp_path: Path) -> None:
    track = fa.AttributeTrack(
        times_s=np.zeros(1), values=fa.neutral()[None], present=np.ones(1, dtype=np.bool_)
    )
    with pytest.raises(ConfigError, match="cannot write attributes"):
        write_csv(tmp_path / "absent" / "drive.csv", track)


def test_what_was_recorded_replays_bit_for_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    track = fa.AttributeTrack(
        times_s=np.arange(7) / 25,
        values=fa.LOWEST + (1 - fa.LOWEST) * rng.random((7, fa.SIZE), dtype=np.float32),
        present=np.array([True, True, False, True, True, False, True]),
    )
    write_csv(tmp_path / "record.csv", track)
    back = read_csv(tmp_path / "record.csv")
    np.testing.assert_array_equal(back.values, track.values)
    np.testing.assert_array_equal(back.present, track.present)
    np.testing.assert_allclose(back.times_s, track.times_s, atol=5e-7)


def test_openface_export_reads_back(tmp_path: Path, rng: np.random.Generator) -> None:
    track = fa.AttributeTrack(
        times_s=np.arange(4) / 30,
        values=fa.with_extensions(rng.random((4, 20), dtype=np.float32)),
        present=np.ones(4, dtype=np.bool_),
    )
    write_csv(tmp_path / "openface.csv", track, openface=True)
    header = (tmp_path / "openface.csv").read_text().splitlines()[0].split(",")
    assert header == OPENFACE_HEADER
    np.testing.assert_allclose(read_csv(tmp_path / "openface.csv").values, track.values, atol=1e-6)


def people(path: Path, *ids: int, seen: int = 1) -> Path:
    """A table of OpenFace of three frames: AU12_r is 0.5 × (id + 1), and person 0 misses the second."""
    header = ["frame", "face_id", "confidence", *OPENFACE_HEADER[1:]]
    rows = []
    for frame in range(1, 4):
        for number in ids:
            if (frame, number) != (2, 0):
                row = openface_row(frame, f"{frame / 10}", seen, AU12_r=0.5 * (number + 1))
                rows.append([row[0], str(number), "0.9", *row[1:]])
    return write_rows(path, header, *rows)


def test_of_several_people_the_one_seen_longest_is_taken_and_a_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    track = read_csv(people(tmp_path / "two.csv", 0, 7))
    np.testing.assert_allclose(
        track.values[:, fa.INDEX["AU12"]], 8 * 0.5 / 5 * 2.2 * np.ones(3) / 1.76, rtol=1
    )
    assert track.present.all() and track.people == 2
    assert "two.csv has 2 people (face_id 0, 7); 7 is taken" in caplog.text and "--face 1" in caplog.text


def test_a_person_is_chosen_by_number_and_held_where_the_file_lacks_them(tmp_path: Path) -> None:
    path = people(tmp_path / "two.csv", 0, 1)
    first, second = read_csv(path, face=1), read_csv(path, face=2)
    np.testing.assert_allclose(first.values[:, fa.INDEX["AU12"]], 0.5 / 5 * 2.2, rtol=1e-6)
    np.testing.assert_allclose(second.values[:, fa.INDEX["AU12"]], 1.0 / 5 * 2.2, rtol=1e-6)
    assert first.present.tolist() == [True, False, True] and second.present.all()
    np.testing.assert_allclose(first.times_s, [0, 0.1, 0.2])
    with pytest.raises(ConfigError, match="has 2 people; --face 3 must be 1 to 2"):
        read_csv(path, face=3)


def test_rows_without_a_face_may_hold_anything(tmp_path: Path) -> None:
    lost = ["nan"] * len(OPENFACE_HEADER)
    lost[:3] = ["2", "0.04", "0"]
    path = write_rows(
        tmp_path / "drive.csv",
        OPENFACE_HEADER,
        openface_row(1, "0", AU12_r=1.0),
        lost,
        openface_row(3, "0.08", AU12_r=2.0),
    )
    track = read_csv(path)
    np.testing.assert_allclose(track.values[:, fa.INDEX["AU12"]], [0.44, 0.44, 0.88], rtol=1e-6)
    assert track.present.tolist() == [True, False, True]
    early = write_rows(tmp_path / "early.csv", OPENFACE_HEADER, lost, openface_row(3, "0.08", AU12_r=2.0))
    np.testing.assert_array_equal(read_csv(early).values[0], fa.neutral())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    ("delimiter", "start"), [(";", ""), ("\t", ""), ("|", ""), (";", "sep=;\n"), (",", "")]
)
def test_what_spreadsheets_save_is_read(tmp_path: Path, encoding: str, delimiter: str, start: str) -> None:
    cells = [OPENFACE_HEADER, openface_row(1, "0.00", pose_Rx=-0.35), openface_row(2, "0.04", AU12_r=1.5)]
    text = "\n".join(delimiter.join(f" {cell}" for cell in row) for row in cells)
    if delimiter != ",":
        text = text.replace(".", ",")
    path = tmp_path / "drive.csv"
    path.write_bytes((start + text + "\n").encode(encoding))
    track = read_csv(path)
    assert track.values[0, fa.INDEX["pitch"]] == pytest.approx(0.25)
    assert track.values[1, fa.INDEX["AU12"]] == pytest.approx(0.66)
    np.testing.assert_allclose(track.times_s, [0, 0.04])


def test_a_wrong_cell_is_told_with_its_line_as_an_editor_counts(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    row = openface_row(1, "0")
    row[-1] = "much"
    path.write_text("sep=;\n" + ";".join(OPENFACE_HEADER) + "\n\n" + ";".join(row) + "\n")
    with pytest.raises(
        ConfigError, match=r"line 4: column AU45_r is not a number \('much'\); mend it, or write 0"
    ):
        read_csv(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(99), "save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1" + bytes(99), "save it as CSV"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
    ],
)
def test_what_is_saved_in_place_of_a_table_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "drive.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_csv(path)


def test_a_quotation_mark_that_is_not_closed_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    rows = [OPENFACE_HEADER, openface_row(1, "0"), ['"', *openface_row(2, "1")[1:]], openface_row(3, "2")]
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    with pytest.raises(ConfigError, match="quotation mark in line 3 is not closed"):
        read_csv(path)


def test_decimal_commas_between_commas_are_told(tmp_path: Path) -> None:
    cells = [cell.replace(".", ",") for cell in openface_row(1, "0.04", AU12_r=0.5)]
    with pytest.raises(ConfigError, match=r"line 2 has .* cells under 23 names; .* put semicolons"):
        read_csv(write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, cells))


def test_names_are_known_in_any_spelling(tmp_path: Path) -> None:
    header = [name.replace("AU0", "au").upper() for name in OPENFACE_HEADER]
    track = read_csv(write_rows(tmp_path / "drive.csv", header, openface_row(1, "0", AU01_r=2.5)))
    assert track.values[0, fa.INDEX["AU01"]] == pytest.approx(0.75)
    with pytest.raises(ConfigError, match="has the column AU01_r twice"):
        read_csv(write_rows(tmp_path / "twice.csv", [*header, "AU01_r"], [*openface_row(1, "0"), "0"]))


def test_a_table_of_poses_alone_has_a_face_at_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    header = ["frame", "timestamp", "confidence", "pose_Rx", "pose_Ry", "pose_Rz"]
    rows = [["1", "0", "0.98", "0", "0.35", "0"], ["2", "0.04", "0.1", "9", "9", "9"]]
    track = read_csv(write_rows(tmp_path / "poses.csv", header, *rows))
    assert track.values[0, fa.INDEX["yaw"]] == pytest.approx(0.75)
    assert not track.values[0, fa.ACTION_UNITS].any()
    assert track.present.tolist() == [True, False], "without success, confidence says whether there is a face"
    assert "no column AU01_r" in caplog.text


def test_the_frame_s_number_gives_the_time_where_nothing_else_does(tmp_path: Path) -> None:
    header = ["frame", *fa.NAMES]
    path = write_rows(tmp_path / "drive.csv", header, *([str(i), *["0.5"] * 20] for i in (10, 11, 15)))
    np.testing.assert_allclose(read_csv(path, fps=10).times_s, [0, 0.1, 0.5])


def test_a_header_may_stand_below_a_title(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    rows = [OPENFACE_HEADER, openface_row(1, "0", AU12_r=1.0), ["2", "0.04", "False", "x"]]
    path.write_text("# my table\n\n" + "\n".join(",".join(row) for row in rows))
    track = read_csv(path)
    assert track.present.tolist() == [True, False]
    path.write_text("# my table\n\n" + ",".join(OPENFACE_HEADER) + "\n" + "1,0,1,x\n")
    with pytest.raises(ConfigError, match="line 4: column pose_Rx"):
        read_csv(path)


@pytest.mark.parametrize(
    "content", [b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(60), b"\x00\x00\x00 ftypisom" + b"\xd8\x00" * 60]
)
def test_what_is_no_text_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="it is no text"):
        read_csv(path)


def test_a_file_without_names_is_told_so(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "drive.csv", ["values"], openface_row(1, "0"))
    with pytest.raises(ConfigError, match=r"lacks the columns .* expected a header"):
        read_csv(path)


def test_of_a_picture_s_table_one_face_is_taken(tmp_path: Path) -> None:
    """OpenFace's tables of one picture number the faces, and have no frames."""
    header = ["face", "confidence", *OPENFACE_HEADER[3:]]
    faces = [
        [str(i), sure, *openface_row(1, "0", AU12_r=i)[3:]] for i, sure in enumerate(("0.6", "0.9", "0.2"))
    ]
    track = read_csv(write_rows(tmp_path / "picture.csv", header, *faces))
    assert len(track) == 1 and track.values[0, fa.INDEX["AU12"]] == pytest.approx(1 / 5 * 2.2)
