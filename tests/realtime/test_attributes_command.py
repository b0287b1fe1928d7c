"""`icface-live attributes`: files in, files out, and every mistake in one line."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icface.attributes import INDEX, AttributeTrack, neutral
from icface.tables import read_csv, write_csv
from realtime.attributes_command import EDITING, parser
from realtime.cli import main
from realtime.track_plot import LEFT_COLOUR, LOST_COLOUR, RIGHT_COLOUR, WIDTH_PX, plot


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with two tables: `talk.csv` smiles and turns, `song.csv` opens the mouth."""
    monkeypatch.chdir(tmp_path)
    for name, moved in (("talk", {"AU12": 0.4, "yaw": 0.6}), ("song", {"AU25": 0.8, "AU12": 0.2})):
        values = np.repeat(neutral()[None], 201, axis=0)
        for attribute, value in moved.items():
            values[10:40, INDEX[attribute]] = value
        present = np.ones(201, dtype=np.bool_)
        write_csv(
            Path(f"{name}.csv"), AttributeTrack(times_s=np.arange(201) / 25, values=values, present=present)
        )
    return tmp_path


def column(path: str, name: str) -> np.ndarray:
    return read_csv(Path(path)).values[:, INDEX[name]]


def run(text: str) -> int:
    return main(["attributes", *shlex.split(text)])


@pytest.mark.parametrize("name", EDITING)
def test_every_example_of_the_help_runs(here: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"{name} --help") == 0
    _, _, example = capsys.readouterr().out.partition("example:\n")
    assert run(example.strip().removeprefix("icface-live attributes ")) == 0
    flags = parser().parse_args(example.split()[2:])
    assert f"{flags.output}: " in capsys.readouterr().out
    assert flags.output.is_file()


def test_the_flags_do_what_they_say(here: Path) -> None:
    assert run("cut talk.csv --from 1 --to 1.4 -o part.csv") == 0
    assert len(column("part.csv", "AU12")) == 10
    assert run("scale talk.csv --gain mouth=.5 --offset yaw=-8deg -o less.csv") == 0
    assert column("less.csv", "AU12")[20] == pytest.approx(0.2)
    assert column("less.csv", "yaw")[0] == pytest.approx(0.5 - np.radians(8) / 1.4, abs=1e-6)
    assert run("merge talk.csv --take mouth=song.csv --shift -0.4 -o both.csv") == 0
    assert column("both.csv", "AU25")[0] == pytest.approx(0.8)
    assert column("both.csv", "yaw")[10] == pytest.approx(0.6)
    assert run("smooth talk.csv --seconds .2 --only AU12 -o calm.csv") == 0
    assert 0 < column("calm.csv", "AU12")[9] < 0.2 and column("calm.csv", "yaw")[9] == 0.5
    assert run("convert talk.csv --openface -o of.csv") == 0
    assert "pose_Rx" in Path("of.csv").read_text().splitlines()[0]
    assert column("of.csv", "AU12")[20] == pytest.approx(0.4, abs=1e-4)


def test_nothing_is_written_over_unless_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("talk.csv").read_bytes()
    for flags in ("-o song.csv", "-o talk.csv", "-o ./talk.csv", ""):
        assert run(f"scale talk.csv --gain AU12=2 {flags}") == 2
    assert "--in-place" in capsys.readouterr().err
    assert Path("talk.csv").read_bytes() == before
    assert run("scale talk.csv --gain AU12=2 -o song.csv --overwrite") == 0
    assert run("scale talk.csv --gain AU12=2 --in-place") == 0
    assert column("talk.csv", "AU12")[20] == pytest.approx(0.8) == column("song.csv", "AU12")[20]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", "required: COMMAND"),
        ("trimm talk.csv", "invalid choice"),
        ("cut talk.csv --from 2 --to 1 -o o.csv", "runs backwards"),
        ("cut talk.csv --from 9 -o o.csv", "nothing is left"),
        ("cut talk.csv --form 1 -o o.csv", "did you mean --from?"),
        ("cut nowhere.csv -o o.csv", "cannot read attributes from nowhere.csv"),
        ("cut talk.csv -o o.txt", "must end in .csv"),
        ("cut talk.csv -o missing/o.csv", "does not exist"),
        ("scale talk.csv -o o.csv", "--gain NAME=FACTOR"),
        ("scale talk.csv --gain AU12 -o o.csv", "write it as NAME="),
        ("scale talk.csv --gain AU12=x -o o.csv", "is no number"),
        ("scale talk.csv --gain AU12=nan -o o.csv", "is no number"),
        ("scale talk.csv --gain AU12=inf --in-place", "is no number"),
        ("scale talk.csv --gain AU99=2 -o o.csv", "'AU99'"),
        ("scale talk.csv --gain 'left AU12=2' -o o.csv", "so write AU12"),
        ("scale talk.csv --offset 'left AU12=.1' -o o.csv", "so write AU12"),
        ("smooth talk.csv --seconds 1 --only yaw,'left brows' -o o.csv", "so write brows"),
        ("merge talk.csv --take 'left brows=song.csv' -o o.csv", "so write brows"),
        ("plot talk.csv --only 'left brows' -o o.png", "so write brows"),
        ("scale talk.csv --offset AU12=5deg -o o.csv", "is no angle"),
        ("smooth talk.csv --seconds 0 -o o.csv", "more than 0"),
        ("smooth talk.csv --seconds nan -o o.csv", "more than 0"),
        ("merge talk.csv --take mouth=song.csv --shift 9 -o o.csv", "no time in common"),
        ("merge talk.csv --take mouth=song.csv -o song.csv", "is what is read"),
        ("resample talk.csv --fps 0 -o o.csv", "1 to 240"),
        ("plot talk.csv --only AU04 -o o.png", "none of these attributes moves"),
        ("plot talk.csv -o o.csv", "must end in .png"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    here: Path, flags: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(flags) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err and err.count("\n") == 1, err
    assert not list(here.glob("o.*"))


def test_the_plot_shows_what_moves_both_sides_and_lost_frames(here: Path) -> None:
    values = np.repeat(neutral()[None], 100, axis=0)
    values[:, INDEX["yaw"]] = np.linspace(0.4, 0.6, 100)
    plain = AttributeTrack(times_s=np.arange(100) / 25, values=values.copy(), present=np.ones(100, bool))
    values[:, INDEX["AU45"]] = values[:, INDEX["AU45_side"]] = np.sin(np.arange(100) / 10) ** 2
    values[:, INDEX["AU45"]] /= 2
    present = np.arange(100) // 25 != 1
    winking = AttributeTrack(times_s=plain.times_s, values=values, present=present)

    def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
        return float((picture == colour).all(axis=2).mean())

    one, two = plot(plain), plot(winking)
    assert one.shape[1] == WIDTH_PX and two.shape[0] > one.shape[0], "a row for each attribute that moves"
    for colour in (LEFT_COLOUR, RIGHT_COLOUR):
        assert share(two, colour) > 0.0002 and share(one, colour) == 0
    lost = (two == LOST_COLOUR).all(axis=2)
    curve = lost[60:150].any(axis=0)  # below the key of colours
    assert share(one, LOST_COLOUR) == 0 and 0.17 < curve.mean() < 0.23, "a quarter of the time"


def test_a_plot_is_a_picture_of_the_kind_that_its_name_says(here: Path) -> None:
    for name, kind in (("a.png", "PNG"), ("a.webp", "WEBP"), ("a.jpg", "JPEG")):
        assert run(f"plot talk.csv --output {name}") == 0
        with Image.open(name) as picture:
            assert picture.format == kind and picture.width == WIDTH_PX
