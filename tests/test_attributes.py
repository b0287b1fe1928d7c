"""The attributes: order, both scales, mirroring and CSV, by values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icface import attributes as fa
from icface.errors import ConfigError

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


def test_order_is_the_papers() -> None:
    assert fa.COUNT == 20
    assert fa.NAMES[:3] == ("pitch", "yaw", "roll")
    assert fa.INDEX["AU01"] == 3
    assert fa.INDEX["AU12"] == 11
    assert fa.INDEX["AU25"] == 17
    assert fa.INDEX["AU45"] == 19


def test_groups_hold_every_attribute_once() -> None:
    grouped = [name for names in fa.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(fa.NAMES)


def test_neutral_is_frontal_and_at_rest() -> None:
    values = fa.neutral()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:3], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(values[3:], np.zeros(fa.SIZE - 3))
    np.testing.assert_array_equal(fa.neutral(fa.COUNT), values[:20])
    values[0] = 0.9
    assert fa.neutral()[0] == 0.5, "each call gives an array of its own"


def test_pose_scale() -> None:
    # (.35 + .70) / 1.4 = .75; (-.14 + .70) / 1.4 = .4
    np.testing.assert_allclose(fa.pose_to_unit([0.35, -0.14, 0.0]), [0.75, 0.4, 0.5], rtol=1e-6)
    np.testing.assert_allclose(fa.pose_from_unit([0.75, 0.4, 0.5]), [0.35, -0.14, 0.0], atol=1e-7)


def test_pose_is_clamped_beyond_forty_degrees() -> None:
    np.testing.assert_array_equal(fa.pose_to_unit([-2.0, 0.7, 2.0]), [0.0, 1.0, 1.0])


def test_mirror_of_the_papers_twenty_turns_yaw_and_roll_only() -> None:
    values = np.linspace(0.0, 0.95, 20, dtype=np.float32)
    mirrored = fa.mirror(values)
    assert mirrored[0] == values[0]
    np.testing.assert_allclose(mirrored[1:3], [0.95, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(mirrored[3:], values[3:])
    np.testing.assert_allclose(fa.mirror(mirrored), values, atol=1e-7)


def test_mirror_turns_what_has_a_side() -> None:
    values = fa.neutral()
    asked = {
        "gaze_pitch": 0.3,
        "gaze_yaw": 0.4,
        "AU45_side": -1.0,
        "jaw_side": 0.2,
        "AU18": 0.7,
        "place_x": 0.1,
    }
    for name, value in asked.items():
        values[fa.INDEX[name]] = value
    mirrored = dict(zip(fa.ALL_NAMES, fa.mirror(values).tolist(), strict=True))
    for name, sign in (
        ("gaze_yaw", -1),
        ("AU45_side", -1),
        ("jaw_side", -1),
        ("place_x", -1),
        ("gaze_pitch", 1),
        ("AU18", 1),
    ):
        assert mirrored[name] == pytest.approx(sign * asked[name]), name
    np.testing.assert_array_equal(fa.mirror(fa.neutral()), fa.neutral())


def test_each_attribute_has_its_range() -> None:
    assert fa.SIZE == len(set(fa.ALL_NAMES)) == fa.COUNT + len(fa.EXTENSIONS)
    clamped = dict(zip(fa.ALL_NAMES, fa.in_range(np.full(fa.SIZE, -3, np.float32)).tolist(), strict=True))
    assert {name for name, value in clamped.items() if value == -1} == {
        *fa.GAZE_NAMES, *fa.SIDE_NAMES, *fa.PLACE_NAMES, "jaw_side", "mouth_side"
    }  # fmt: skip
    assert {value for value in clamped.values()} == {0.0, -1.0}
    assert fa.in_range(np.full(fa.COUNT, 2, np.float32)).tolist() == [1.0] * 20


def test_the_slices_are_where_the_names_are() -> None:
    for part, names in ((fa.GAZE, fa.GAZE_NAMES), (fa.SIDES, fa.SIDE_NAMES), (fa.PLACE, fa.PLACE_NAMES)):
        assert fa.ALL_NAMES[part] == names


def test_a_full_blink_is_one_inside_and_about_a_quarter_in_openface() -> None:
    blink = fa.neutral()
    blink[fa.INDEX["AU45"]] = 1.0
    openface = fa.to_openface(blink)
    assert openface[fa.INDEX["AU45"]] == pytest.approx(1 / 3.6)
    assert openface[fa.INDEX["yaw"]] == 0.5
    np.testing.assert_allclose(fa.from_openface(openface), blink, rtol=1e-6)


def test_openface_scale_is_clamped_into_full_shape() -> None:
    strong = fa.neutral()
    strong[fa.INDEX["AU12"]] = 0.6  # × 2.2 = 1.32
    strong[fa.INDEX["AU04"]] = 0.1  # × 4 = .4
    values = fa.from_openface(strong)
    assert values[fa.INDEX["AU12"]] == 1.0
    assert values[fa.INDEX["AU04"]] == pytest.approx(0.4)


def test_scales_take_whole_tracks() -> None:
    track = np.stack([fa.neutral(), np.full(fa.SIZE, 0.2, dtype=np.float32)])
    assert fa.to_openface(track).shape == (2, fa.SIZE)
    np.testing.assert_allclose(fa.from_openface(fa.to_openface(track)), track, rtol=1e-6)


def test_reads_openface_with_padded_names(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "drive.csv",
        OPENFACE_HEADER,
        openface_row(1, "10.00", pose_Rx=0.14, AU12_r=1.0, AU45_r=1.4),
        openface_row(2, "10.04", 0),
        pad=" ",
    )
    track = fa.read_csv(path)
    assert len(track) == 2
    np.testing.assert_allclose(track.times_s, [0.0, 0.04], atol=1e-9)
    np.testing.assert_array_equal(track.present, [True, False])
    assert track.values[0, fa.INDEX["pitch"]] == pytest.approx(0.6)
    assert track.values[0, fa.INDEX["AU12"]] == pytest.approx(1.0 / 5 * 2.2)
    assert track.values[0, fa.INDEX["AU45"]] == 1.0  # 1.4 / 5 × 3.6 = 1.008
    np.testing.assert_array_equal(track.values[1], fa.neutral())


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    header = [*reversed(OPENFACE_HEADER), "confidence"]
    row = [*reversed(openface_row(1, "0", pose_Ry=-0.7, AU26_r=5.0)), "0.98"]
    track = fa.read_csv(write_rows(tmp_path / "drive.csv", header, row))
    assert track.values[0, fa.INDEX["yaw"]] == 0.0
    assert track.values[0, fa.INDEX["AU26"]] == 1.0


def test_without_timestamps_the_rate_gives_the_time(tmp_path: Path) -> None:
    header = [*fa.NAMES]
    row = ["0.5"] * 20
    track = fa.read_csv(write_rows(tmp_path / "drive.csv", header, row, row, row), fps=50.0)
    np.testing.assert_allclose(track.times_s, [0.0, 0.02, 0.04])
    assert track.present.all()


def test_byte_order_mark_and_blank_lines_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    text = ",".join(fa.NAMES) + "\n" + ",".join(["0.25"] * 20) + "\n\n , \n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    track = fa.read_csv(path)
    assert len(track) == 1
    np.testing.assert_array_equal(track.values[:, :20], np.full((1, 20), 0.25))
    np.testing.assert_array_equal(track.values[:, 20:], 0, "what a file lacks is neutral")


def test_extensions_are_read_by_name_and_clamped(tmp_path: Path) -> None:
    header = ["gaze_yaw", *fa.NAMES, "AU12_side", "AU18"]
    row = ["-0.5", *["0.5"] * 20, "-7", "-1"]
    values = fa.read_csv(write_rows(tmp_path / "drive.csv", header, row)).values[0]
    read = dict(zip(fa.ALL_NAMES, values.tolist(), strict=True))
    assert {name: read[name] for name in fa.EXTENSIONS if read[name]} == {"gaze_yaw": -0.5, "AU12_side": -1.0}


def test_an_extension_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "drive.csv", [*fa.NAMES, "gaze_yaw"], [*["0.5"] * 20, "left"])
    with pytest.raises(ConfigError, match="line 2: column gaze_yaw is not a number"):
        fa.read_csv(path)


@pytest.mark.parametrize("number", ["nan", "NaN", "inf", "-inf", "", "abc"])
def test_what_is_no_number_names_line_and_column(tmp_path: Path, number: str) -> None:
    row = openface_row(2, "0.04")
    row[OPENFACE_HEADER.index("AU12_r")] = number
    path = write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, openface_row(1, "0"), row)
    with pytest.raises(ConfigError, match=r"drive\.csv line 3: column AU12_r is not a number"):
        fa.read_csv(path)


def test_a_line_that_ends_early_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, openface_row(1, "0"), ["2", "0.04", "1"])
    with pytest.raises(ConfigError, match="line 3: column pose_Rx is not a number"):
        fa.read_csv(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    header = [name for name in OPENFACE_HEADER if name not in ("pose_Ry", "AU45_r")]
    path = write_rows(tmp_path / "drive.csv", header, ["0"] * len(header))
    with pytest.raises(ConfigError, match="lacks the columns pose_Ry, AU45_r"):
        fa.read_csv(path)


def test_time_must_not_run_backwards(tmp_path: Path) -> None:
    rows = [openface_row(i + 1, time) for i, time in enumerate(["0.00", "0.04", "0.03"])]
    path = write_rows(tmp_path / "drive.csv", OPENFACE_HEADER, *rows)
    with pytest.raises(ConfigError, match="line 4: timestamp runs backwards"):
        fa.read_csv(path)


@pytest.mark.parametrize("text", ["", ",".join(OPENFACE_HEADER) + "\n", ",".join(OPENFACE_HEADER) + "\n\n\n"])
def test_a_table_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "drive.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match="has no rows"):
        fa.read_csv(path)


def test_a_file_that_is_missing_or_binary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read attributes"):
        fa.read_csv(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80\x81")
    with pytest.raises(ConfigError, match="cannot read attributes"):
        fa.read_csv(tmp_path / "binary.csv")


def test_a_folder_that_is_missing_is_refused_when_writing(tmp_path: Path) -> None:
    track = fa.AttributeTrack(
        times_s=np.zeros(1), values=fa.neutral()[None], present=np.ones(1, dtype=np.bool_)
    )
    with pytest.raises(ConfigError, match="cannot write attributes"):
        fa.write_csv(tmp_path / "absent" / "drive.csv", track)


def test_what_was_recorded_replays_bit_for_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    track = fa.AttributeTrack(
        times_s=np.arange(7) / 25,
        values=fa.LOWEST + (1 - fa.LOWEST) * rng.random((7, fa.SIZE), dtype=np.float32),
        present=np.array([True, True, False, True, True, False, True]),
    )
    fa.write_csv(tmp_path / "record.csv", track)
    back = fa.read_csv(tmp_path / "record.csv")
    np.testing.assert_array_equal(back.values, track.values)
    np.testing.assert_array_equal(back.present, track.present)
    np.testing.assert_allclose(back.times_s, track.times_s, atol=5e-7)


def test_openface_export_reads_back(tmp_path: Path, rng: np.random.Generator) -> None:
    track = fa.AttributeTrack(
        times_s=np.arange(4) / 30,
        values=fa.with_extensions(rng.random((4, 20), dtype=np.float32)),
        present=np.ones(4, dtype=np.bool_),
    )
    fa.write_csv(tmp_path / "openface.csv", track, openface=True)
    header = (tmp_path / "openface.csv").read_text().splitlines()[0].split(",")
    assert header == OPENFACE_HEADER
    np.testing.assert_allclose(fa.read_csv(tmp_path / "openface.csv").values, track.values, atol=1e-6)
