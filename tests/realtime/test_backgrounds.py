"""What stands behind the person: the setting read, the pictures painted, the sources before them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from icface.arrays import Frame
from icface.attributes import INDEX, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError, SourceError
from icface.geometry import surroundings
from icface.images import load_photo
from icface.prepared_source import PreparedSource
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache
from realtime.backdrop import Backdrop
from realtime.backgrounds import Background, read_background
from realtime.metrics import Metrics
from realtime.renderer import Renderer, make_scene

SIDE = 192
GREEN = (0, 255, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("keep", Background("keep")),
        ("blur", Background("blur")),
        ("transparent", Background("transparent")),
        ("green", Background("colour", (0, 255, 0))),  # a green screen's, not CSS's
        ("Navy", Background("colour", (0, 0, 128))),
        ("#12aBff", Background("colour", (18, 171, 255))),
        ("#fff", Background("colour", (255, 255, 255))),
    ],
)
def test_a_background_is_a_word_or_a_colour(text: str, expected: Background) -> None:
    assert read_background(text) == expected


def test_a_background_is_a_photo_where_the_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "beach.jpg"
    path.write_bytes(b"whatever")
    assert read_background(str(path)) == Background("photo", path=path)


@pytest.mark.parametrize("text", ["", "blurr", "#12345g", "#12", "#12345678", "nowhere.jpg", "/", "x" * 5000])
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="--background") as refused:
        read_background(text)
    assert "\n" not in str(refused.value)


def test_a_photo_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "beach.jpg"
    path.write_bytes(b"not really")
    with pytest.raises(SourceError, match="not a picture") as refused:
        Backdrop(read_background(str(path)))
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def reenactor() -> Reenactor:
    return Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, corrected=False, free_layer=True)


@pytest.fixture(scope="module")
def in_photo() -> Reenactor:
    return Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, corrected=False, free_layer=True, still_border=True
    )


@pytest.fixture(scope="module")
def portrait(repository: Path, reenactor: Reenactor) -> PreparedSource:
    return reenactor.prepare_source(load_photo(repository / "examples/source.jpg"))


@pytest.fixture(scope="module")
def whole(repository: Path, in_photo: Reenactor) -> PreparedSource:
    return in_photo.prepare_source(load_photo(repository / "examples/source.jpg"))


def test_who_follows_is_at_rest_where_they_are_without(
    in_photo: Reenactor, whole: PreparedSource, reenactor: Reenactor, portrait: PreparedSource
) -> None:
    still = shown(in_photo, whole, "keep", "photo").astype(int)
    scene = make_scene(0, whole, "photo", None, follow=True)
    moving = Renderer(in_photo, scene, Metrics(), mark=False)
    rest = moving.render(neutral()).copy().astype(int)
    # The photo cuts the bust, so at rest it is a little larger: the shoulders are broader, the wall above is the same.
    assert rest.shape == still.shape
    assert np.abs(rest[:20, :40] - still[:20, :40]).mean() < 3
    there = neutral()
    there[INDEX["place_x"]] = 0.2
    moved = moving.render(there).astype(int)
    assert np.abs(moved[:20, :40] - rest[:20, :40]).max() == 0, "the room stands still"
    dark = [
        np.average(np.arange(rest.shape[1]), weights=(p.mean(axis=2) < 60).sum(axis=0)) for p in (rest, moved)
    ]
    expected = 0.2 * 1.5 * float(whole.cache["iod_px"]) * scene.framing.place[2] / whole.size_px[0]  # type: ignore[union-attr]
    assert dark[1] - dark[0] == pytest.approx(expected, rel=0.2)


def test_a_source_of_one_layer_stays_and_fills_the_same_picture(
    in_photo: Reenactor, whole: PreparedSource
) -> None:
    flat = replace(whole, cache={**whole.cache, "margin": np.array(0, dtype=np.int32)})
    scene = make_scene(0, flat, "crop", (SIDE, SIDE), follow=True)
    in_photo.set_source(scene.source)
    there = neutral()
    there[INDEX["place_x"]] = 0.5
    renderer = Renderer(in_photo, scene, Metrics(), mark=False)
    picture = renderer.render(there).copy()
    assert picture.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(renderer.render(neutral()), picture)


def shown(
    reenactor: Reenactor,
    source: PreparedSource,
    background: str,
    framing: str = "crop",
    size_px: tuple[int, int] | None = None,
    **asked: float,
) -> Frame:
    """The picture of a source before a background."""
    attributes = neutral()
    for name, value in asked.items():
        attributes[INDEX[name]] = value
    scene = make_scene(0, source, framing, size_px, Backdrop(read_background(background)))
    return Renderer(reenactor, scene, Metrics(), mark=False).render(attributes).copy()


def test_keep_shows_what_is_shown_without_a_background(
    reenactor: Reenactor, portrait: PreparedSource
) -> None:
    scene = make_scene(0, portrait, "crop", None)
    plain = Renderer(reenactor, scene, Metrics(), mark=False).render(neutral()).copy()
    np.testing.assert_array_equal(shown(reenactor, portrait, "keep"), plain)


def test_a_photo_covers_the_picture_and_is_cut_evenly(
    reenactor: Reenactor, portrait: PreparedSource, tmp_path: Path
) -> None:
    """A photo twice as wide as high: its outer quarters are cut off, so the picture's corners are the middle's."""
    stripes = np.zeros((2 * SIDE, 4 * SIDE, 3), dtype=np.uint8)
    stripes[:, :SIDE], stripes[:, SIDE : 2 * SIDE] = (255, 0, 0), (0, 0, 255)
    stripes[:, 2 * SIDE : 3 * SIDE], stripes[:, 3 * SIDE :] = (255, 255, 0), (0, 255, 255)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    picture = shown(reenactor, portrait, str(tmp_path / "stripes.png"))
    assert (picture[2:8, 2:8] == (0, 0, 255)).all()
    assert (picture[2:8, -8:-2] == (255, 255, 0)).all()


def test_blur_takes_the_room_s_detail_away_and_leaves_the_person(
    reenactor: Reenactor, portrait: PreparedSource
) -> None:
    noise = np.random.default_rng(3).integers(0, 256, portrait.cache["plate"].shape, dtype=np.uint8)
    noisy = replace(portrait, cache={**portrait.cache, "plate": noise})
    sharp, soft = shown(reenactor, noisy, "keep"), shown(reenactor, noisy, "blur")
    person = shown(reenactor, portrait, "transparent")[..., 3] == 255
    inside = cv2.erode(person.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    np.testing.assert_array_equal(soft[inside], sharp[inside])
    assert sharp[:20, :20].std() > 60 and soft[:20, :20].std() < 12


def test_where_nothing_is_behind_the_picture_is_premultiplied(
    reenactor: Reenactor, portrait: PreparedSource
) -> None:
    picture = shown(reenactor, portrait, "transparent", yaw=0.7)
    assert picture.shape == (SIDE, SIDE, 4)
    colours, alpha = picture[..., :3].astype(int), picture[..., 3:].astype(int)
    assert (colours <= alpha + 1).all()
    over_green = shown(reenactor, portrait, "green", yaw=0.7)
    laid = colours + (255 - alpha) * np.array(GREEN) / 255
    assert np.abs(laid - over_green).max() <= 2


def test_in_the_whole_photo_everything_but_the_person_is_replaced(
    in_photo: Reenactor, whole: PreparedSource
) -> None:
    kept = shown(in_photo, whole, "keep", "photo")
    green = shown(in_photo, whole, "green", "photo")
    assert green.shape == kept.shape
    # The wall at both sides of the head, down to the shoulders, and the corners above.
    height, width = green.shape[:2]
    assert (green[: height // 2, : width // 8] == GREEN).all()
    assert (green[: height // 2, -width // 8 :] == GREEN).all()
    # The shirt at the lower border lies outside of the face, and inside of the photo only.
    shirt = np.s_[-6:, width // 3 : -width // 3]
    assert np.abs(green[shirt].astype(int) - kept[shirt]).max() <= 8


def test_a_photo_of_other_proportions_gets_the_background_beside_it(
    in_photo: Reenactor, whole: PreparedSource
) -> None:
    picture = shown(in_photo, whole, "#102030", "photo", (400, 200))
    assert picture.shape == (200, 400, 3)
    assert (picture[:100, :90] == (16, 32, 48)).all() and (picture[:100, -90:] == (16, 32, 48)).all()
    clear = shown(in_photo, whole, "transparent", "photo", (400, 200))
    assert not clear[:, :90].any() and clear[100:, 150:250, 3].max() == 255


def test_the_whole_photo_is_cut_out_once_and_kept(
    whole: PreparedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = SourceCache(tmp_path)
    first = Backdrop(read_background("green"), kept).behind_photo(whole, None)
    monkeypatch.setattr(surroundings, "surroundings", lambda *_: pytest.fail("it was kept"))
    again = Backdrop(read_background("green"), kept).behind_photo(whole, None)
    np.testing.assert_array_equal(again.photo_frame, first.photo_frame)
    # What belongs to another photo is not taken.
    with pytest.raises(pytest.fail.Exception):
        Backdrop(read_background("green"), kept).behind_photo(replace(whole, key="other"), None)


def test_the_refusal_says_why(portrait: PreparedSource) -> None:
    why = np.frombuffer(b"hardly any background is seen", dtype=np.uint8)
    cache = {**portrait.cache, "margin": np.array(0, dtype=np.int32), "one_layer_because": why}
    with pytest.raises(SourceError, match="because hardly any background is seen; take --background keep"):
        make_scene(0, replace(portrait, cache=cache), "crop", None, Backdrop(read_background("blur")))


def test_a_model_without_layers_is_refused_by_name(portrait: PreparedSource) -> None:
    cache = {name: value for name, value in portrait.cache.items() if name != "margin"}
    with pytest.raises(SourceError, match="paints the background itself"):
        make_scene(0, replace(portrait, cache=cache), "crop", None, Backdrop(read_background("blur")))


@pytest.mark.parametrize("framing", ["crop", "photo"])
@pytest.mark.parametrize("background", ["blur", "transparent", "red"])
def test_a_photo_of_one_layer_is_refused_and_never_shown_as_it_is(
    reenactor: Reenactor, portrait: PreparedSource, background: str, framing: str
) -> None:
    flat = replace(portrait, cache={**portrait.cache, "margin": np.array(0, dtype=np.int32)})
    with pytest.raises(SourceError, match=r"background cannot be replaced.*--background keep"):
        make_scene(0, flat, framing, None, Backdrop(read_background(background)))
