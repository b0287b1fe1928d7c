"""One picture of a photo, and sheets of it, with a fake that paints AU12 as brightness."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from icface.attributes import ALL_NAMES, INDEX
from icface.control import source as sources
from icface.control.state import ControlState
from icface.errors import ConfigError, DeviceError, SourceError
from icface.face.landmarks import open_detector
from icface.face.pose import head_pose
from icface.images import load_photo
from realtime.cli import main
from realtime.disclosure import DIGITAL_SOURCE_TYPE, Mark, Provenance
from realtime.drawing import save_picture
from realtime.drivers.still import read_still
from realtime.given import read_driver
from realtime.metrics import Metrics
from realtime.renderer import Renderer, make_scene
from realtime.stills import COLUMNS, SHEET_MAX_PX, Stills, Sweep, read_sweeps
from tests.realtime.fakes import Animator, smile, source

SIDE = 64


def stills(
    state: ControlState | None = None,
    *,
    side: int = SIDE,
    photos: int = 1,
    mark: bool = False,
    drivers: int = 0,
) -> tuple[Stills, Animator]:
    animator = Animator(side)
    scenes = [make_scene(number, source(side), "crop", None) for number in range(photos)]
    renderer = Renderer(animator.as_reenactor(), scenes[0], Metrics(), mark=False)
    state = state or ControlState.default(drivers)
    return Stills(renderer, scenes, state, [smile(0.25)] * drivers, mark=mark), animator


def test_a_portrait_shows_what_the_state_says() -> None:
    assert (stills()[0].portrait() == 0).all(), "the photo's own, which is neutral"
    happy = ControlState.default(0).with_channels("AU12", source=sources.value(0.8))
    assert (stills(happy)[0].portrait() == 160).all()
    assert (stills(drivers=1)[0].portrait() == 50).all(), "the driver's smile"


def test_a_portrait_is_marked_as_every_picture_is() -> None:
    expected = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    Mark(SIDE, SIDE).apply(expected)
    np.testing.assert_array_equal(stills(mark=True)[0].portrait(), expected)


def test_a_sheet_moves_one_attribute_a_row_and_holds_the_others() -> None:
    state = ControlState.default(0).with_channels("AU12", source=sources.value(0.5))
    made, animator = stills(state)
    sheet = made.sheet((Sweep("AU12", (0.0, 0.5, 1.0)), Sweep("yaw", (0.4, 0.6))))
    assert len(animator.asked) == 5
    shown = [(float(asked[INDEX["AU12"]]), float(asked[INDEX["yaw"]])) for asked in animator.asked]
    np.testing.assert_allclose(shown, [(0, 0.5), (0.5, 0.5), (1, 0.5), (0.5, 0.4), (0.5, 0.6)], atol=1e-6)
    flat = [sheet[y : y + SIDE, x : x + SIDE] for y, x in _corners(sheet)]
    assert [int(tile[5, 5, 0]) for tile in flat] == [0, 100, 200, 100, 100]
    assert all((tile == tile[0, 0]).all() for tile in flat), "labels are beside the pictures"
    assert (sheet < 128).all(axis=2).sum() > SIDE * SIDE, "and they are there"


def _corners(sheet: np.ndarray) -> list[tuple[int, int]]:
    """(top, left) of the five tiles: the right edge of the sheet is a gap of 6 pixels."""
    left = sheet.shape[1] - 3 * (SIDE + 6)
    rows = (6, 6 + SIDE + round(round(13 * 0.8) * 1.7))
    return [(rows[0], left + i * (SIDE + 6)) for i in range(3)] + [
        (rows[1], left + i * (SIDE + 6)) for i in range(2)
    ]


def test_a_sheet_has_the_rows_of_each_photo_and_fits_a_screen() -> None:
    made, animator = stills(photos=2, side=1024)
    sheet = made.sheet((Sweep("yaw", tuple(np.linspace(0.3, 0.7, 7))),))
    assert len(animator.sources) == 2 and len(animator.asked) == 14
    assert SHEET_MAX_PX * 0.95 < sheet.shape[1] <= SHEET_MAX_PX + 60


def test_a_swept_attribute_forgets_its_own_gain_and_lock() -> None:
    state = ControlState.default(0).with_channels("AU12", gain=0.1, high=0.2, locked=True)
    made, animator = stills(state)
    made.sheet((Sweep("AU12", (0.0, 1.0)),))
    assert [float(asked[INDEX["AU12"]]) for asked in animator.asked] == [0.0, 1.0]


def test_one_side_alone_can_be_swept() -> None:
    made, animator = stills()
    made.sheet((Sweep("left AU12", (0.0, 0.6)),))
    last = animator.asked[-1]
    assert last[INDEX["AU12"]] + last[INDEX["AU12_side"]] / 2 == pytest.approx(0.6)
    assert last[INDEX["AU12"]] - last[INDEX["AU12_side"]] / 2 == pytest.approx(0.0)


def unit(degrees: float) -> float:
    return 0.5 + math.radians(degrees) / 1.4


@pytest.mark.parametrize(
    ("sweep", "views", "rows"),
    [
        (None, "-30:30:7", [("yaw", unit(-30), unit(30), 7)]),
        ("AU12", None, [("AU12", 0, 1, COLUMNS)]),
        ("AU12=.2:.8:4", "-10:20:3", [("yaw", unit(-10), unit(20), 3), ("AU12", 0.2, 0.8, 4)]),
        ("pitch", None, [("pitch", unit(-20), unit(20), COLUMNS)]),
        ("yaw=-12:12", None, [("yaw", unit(-12), unit(12), COLUMNS)]),
        ("yaw=0:12:3", None, [("yaw", unit(0), unit(12), 3)]),
        ("yaw=-12deg:12deg:5", None, [("yaw", unit(-12), unit(12), 5)]),
        ("yaw=.3:.7", None, [("yaw", 0.3, 0.7, COLUMNS)]),
        ("AU12_side,left AU45", None, [("AU12_side", -1, 1, COLUMNS), ("left AU45", 0, 1, COLUMNS)]),
        ("brows", None, [("AU01", 0, 1, COLUMNS), ("AU02", 0, 1, COLUMNS), ("AU04", 0, 1, COLUMNS)]),
    ],
)
def test_ranges_are_read(
    sweep: str | None, views: str | None, rows: list[tuple[str, float, float, int]]
) -> None:
    read = [(row.name, row.values[0], row.values[-1], len(row.values)) for row in read_sweeps(sweep, views)]
    assert [row[0] for row in read] == [row[0] for row in rows]
    np.testing.assert_allclose([row[1:] for row in read], [row[1:] for row in rows], atol=1e-6)


@pytest.mark.parametrize(
    ("sweep", "views", "words"),
    [
        (None, "30:-30:7", "runs backwards"),
        (None, "-30:30:1", "give 2 to 25"),
        (None, "-30:30:x", "give 2 to 25"),
        (None, "-30", "write LOW:HIGH"),
        (None, "-30:90", "out of range"),
        (None, "a:b", "is no number"),
        ("AU12=1:0", None, "runs backwards"),
        ("AU12=0:2", None, "out of range"),
        (None, "-30::7", "write LOW:HIGH"),
        (None, "-30:30:7:1", "give 2 to 25"),
        ("smile", None, "'smile'"),
        ("all,all", None, "too many"),
    ],
)
def test_ranges_that_cannot_be_are_told(sweep: str | None, views: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_sweeps(sweep, views)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_picture_says_that_it_is_synthetic(tmp_path: Path, name: str) -> None:
    told = Provenance(source_sha256=("ab" * 32,), version="1.2", model="edge <x>")
    save_picture(np.full((20, 30, 3), 90, dtype=np.uint8), tmp_path / name, told)
    with Image.open(tmp_path / name) as picture:
        picture.load()
        assert picture.size == (30, 20)
        packet = picture.info["xmp"]
    # A reader of XML understands it.
    properties = ElementTree.fromstring(packet.strip(b"\0"))
    xmp = " ".join(properties.itertext())
    for word in (DIGITAL_SOURCE_TYPE, "ab" * 32, "edge <x>", "Synthetic media"):
        assert word in xmp


def test_a_transparent_picture_keeps_its_alpha(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 4), dtype=np.uint8)
    picture[2:6, 2:6] = (200, 100, 50, 255)
    save_picture(picture, tmp_path / "a.png", Provenance())
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.array(image), picture)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DeviceError, match=r"folder\.png cannot be written"):
        save_picture(np.zeros((4, 4, 3), dtype=np.uint8), tmp_path / "folder.png")


@pytest.fixture(scope="module")
def common(repository: Path) -> list[str]:
    """Flags that all real pictures share, so that the photo is prepared once."""
    flags = "--size 256 --quality fast --background #305070"
    return [str(repository / "examples/rendered.jpg"), *flags.split()]


@pytest.mark.slow
def test_a_real_picture_is_turned_and_smiles_as_the_flags_say(common: list[str], tmp_path: Path) -> None:
    """A tracker reads it from the picture, and from a picture that this one drives."""
    turned, driven = tmp_path / "turned.png", tmp_path / "driven.webp"
    assert main([*common, "--set", "yaw=15deg", "--set", "AU12=1", "--output", str(turned)]) == 0
    assert main([*common, "--driver", str(turned), "--output", str(driven)]) == 0
    for path in (turned, driven):
        shown = dict(zip(ALL_NAMES, read_still(path).tolist(), strict=True))
        assert shown["yaw"] == pytest.approx(unit(15), abs=0.06), path.name
        assert shown["AU12"] > 0.5 and shown["AU26"] < 0.1, path.name


@pytest.mark.slow
def test_a_real_sheet_turns_the_head_before_the_background(common: list[str], tmp_path: Path) -> None:
    path = tmp_path / "views.png"
    assert main([*common, "--views", "-20:20:3", "--output", str(path)]) == 0
    sheet = load_photo(path).frame
    with closing(open_detector(video=False)) as detector:
        tiles = [np.ascontiguousarray(sheet[6:262, left : left + 256]) for left in (6, 268, 530)]
        faces = [detector.detect(tile) for tile in tiles]
    yaws = [math.degrees(head_pose(found[0]).yaw_rad) for found in faces]
    np.testing.assert_allclose(yaws, [-20, 0, 20], atol=6)
    assert np.abs(tiles[1][4, 4].astype(int) - (0x30, 0x50, 0x70)).max() < 8


def test_an_animation_drives_as_a_video_or_is_refused_and_never_stands_still(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (16, 12), "red"), Image.new("RGB", (16, 12), "blue")
    for name in ("plays.png", "plays.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
    first.save(tmp_path / "still.png")
    assert read_driver(str(tmp_path / "plays.png")).kind == "video"
    assert read_driver(str(tmp_path / "still.png")).kind == "photo"
    with pytest.raises(SourceError, match="an animation that cannot be played; save it as GIF or MP4"):
        read_still(tmp_path / "plays.webp")
