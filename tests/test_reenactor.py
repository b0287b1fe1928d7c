"""The Reenactor on the example portrait: frames, faces, the cache in between, every refusal."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from msgspec import structs

from icface import preparation as module
from icface.attributes import COUNT, INDEX, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import BundleError, ConfigError, EngineError, SourceError
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.face.photo import faces_of
from icface.geometry.gates import photo_facts
from icface.images import Photo, load_photo
from icface.prepared_source import PreparedSource
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache

SIDE = 256


@pytest.fixture(scope="module")
def photo(repository: Path) -> Photo:
    return load_photo(repository / "examples/rendered.jpg")


@pytest.fixture(scope="module")
def couple(photo: Photo) -> Photo:
    """The same face twice: large at the left, half as large at the right."""
    pair = np.full((768, 768 + 384, 3), 120, np.uint8)
    pair[:, :768], pair[200:584, 768:] = photo.frame, photo.frame[::2, ::2]
    return Photo(frame=pair, sha256="couple", path=Path("couple.jpg"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SourceCache:
    return SourceCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def reenactor(cache: SourceCache) -> Reenactor:
    return Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False)


@pytest.fixture(scope="module")
def source(photo: Photo, cache: SourceCache) -> PreparedSource:
    return Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False
    ).prepare_source(photo)


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, preparing a photo again fails."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the photo was prepared again")

    for name in ("faces_of", "open_detector"):
        monkeypatch.setattr(module, name, refuse)


def asked(**values: float) -> np.ndarray:
    """Neutral but for what is named."""
    attributes = neutral()
    for name, value in values.items():
        attributes[INDEX[name]] = value
    return attributes


def test_at_rest_it_shows_the_neutral_of_the_size_asked_for(
    reenactor: Reenactor, source: PreparedSource
) -> None:
    reenactor.set_source(source)
    frame = reenactor.animate(neutral())
    assert frame.shape == (SIDE, SIDE, 3) and frame.dtype == np.uint8 and frame.flags.c_contiguous
    assert source.size_px == (SIDE, SIDE)
    np.testing.assert_array_equal(frame, source.neutral)


@pytest.mark.parametrize("name", ["yaw", "AU12", "AU26", "AU45"])
def test_a_frame_moves_with_its_attributes_and_repeats_exactly(
    reenactor: Reenactor, source: PreparedSource, name: str
) -> None:
    reenactor.set_source(source)
    rest = reenactor.animate(neutral()).copy()
    changed = np.abs(reenactor.animate(asked(**{name: 0.8})).astype(int) - rest).max(2) > 16
    assert changed.mean() > 0.002
    np.testing.assert_array_equal(reenactor.animate(neutral()), rest)


@pytest.mark.parametrize("name", ["yaw", "roll", "AU26"])
def test_a_still_border_fits_into_the_photo(photo: Photo, cache: SourceCache, name: str) -> None:
    reenactor = Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False, still_border=True
    )
    roomy = np.pad(photo.frame, ((200, 200), (200, 200), (0, 0)), mode="edge")
    reenactor.set_source(
        reenactor.prepare_source(replace(photo, frame=roomy, sha256=f"roomy {photo.sha256}"))
    )
    rest = reenactor.animate(neutral()).copy()
    changed = np.abs(reenactor.animate(asked(**{name: 0.8})).astype(int) - rest).max(2) > 16
    assert changed.mean() > 0.002
    assert not changed[[0, -1]].any() and not changed[:, [0, -1]].any()


def test_where_the_crop_ends_with_its_photo_hair_may_move(repository: Path, cache: SourceCache) -> None:
    reenactor = Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False, still_border=True
    )
    portrait = load_photo(repository / "examples/source.jpg")
    cut = np.ascontiguousarray(portrait.frame[30:])  # above, the photo ends in the hair
    source = reenactor.prepare_source(replace(portrait, frame=cut, sha256=f"cut {portrait.sha256}"))
    assert source.has_layers and source.cache["edges"][1] == 0
    reenactor.set_source(source)
    rest = reenactor.animate(neutral()).copy()
    changed = np.abs(reenactor.animate(asked(roll=0.8)).astype(int) - rest).max(2) > 16
    assert changed[:3].any()  # at the very edge samples come to rest


def test_another_background_changes_nothing_of_the_person(photo: Photo, cache: SourceCache) -> None:
    reenactor = Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False, free_layer=True
    )
    source = reenactor.prepare_source(photo)
    asked_for = asked(yaw=0.7, AU26=0.8)
    reenactor.set_source(source)
    own = reenactor.animate(asked_for).copy()
    pictures = {}
    for level in (0, 255):
        reenactor.set_source(source.before(np.full((SIDE, SIDE, 3), level, dtype=np.uint8)))
        pictures[level] = reenactor.animate(asked_for).astype(int)
    alpha = reenactor.alpha().astype(int)
    # The two pictures differ by what is seen of the background.
    assert np.abs(pictures[255] - pictures[0] - (255 - alpha[..., None])).max() <= 2
    person, wall = alpha == 255, alpha == 0
    assert person.mean() > 0.3 and wall.mean() > 0.15
    assert np.abs(pictures[0] - own)[person].max() <= 1
    assert not pictures[0][wall].any()


def test_hair_before_another_background_has_no_halo(repository: Path, cache: SourceCache) -> None:
    reenactor = Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False, free_layer=True
    )
    source = reenactor.prepare_source(load_photo(repository / "examples/source.jpg"))
    reenactor.set_source(source.before(np.zeros((SIDE, SIDE, 3), dtype=np.uint8)))
    over_black = reenactor.animate(neutral()).astype(float)
    alpha = reenactor.alpha() / 255.0
    # Black hair before a grey wall: in its soft edge, above the forehead, the colour stays near the hair's.
    above = np.s_[: int(source.cache["texture_px"][10, 1])]
    edge = (alpha[above] > 0.1) & (alpha[above] < 0.9)
    colour = over_black[above][edge] / alpha[above][edge][:, None]
    hair = over_black[above][alpha[above] == 1]
    assert edge.sum() > 100
    assert np.median(colour) < np.median(hair) + 25
    wall = float(np.median(source.cache["plate"]))
    assert wall > np.median(hair) + 60, "the photo is one that would show it"


def test_one_layer_refuses_another_background(photo: Photo, cache: SourceCache) -> None:
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False)
    plate = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    source = reenactor.prepare_source(photo)
    with pytest.raises(SourceError, match="background"):
        replace(source, cache={**source.cache, "margin": np.array(0)}).before(plate, free=False)
    with pytest.raises(SourceError, match="background"):
        source.before(plate)  # nobody asked for the layer that is needed
    assert np.array_equal(source.before(plate, free=False).cache["plate"], plate)


def test_alpha_before_a_frame_is_an_error(photo: Photo, cache: SourceCache) -> None:
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=cache, corrected=False)
    with pytest.raises(EngineError, match="alpha"):
        reenactor.alpha()


def test_a_picture_as_in_a_call_takes_the_photos_place(photo: Photo, cache: SourceCache) -> None:
    reenactor = Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=None, source_cache=cache, still_border=True, view_px=(640, 360)
    )
    for _ in range(2):  # made, and from the cache
        source = reenactor.prepare_source(photo)
        assert source.photo_frame.shape == (360, 640, 3)
        first, last = np.array([[0, 0, 1], [source.size_px[0] - 1] * 2 + [1]]) @ source.crop_to_photo.T
        assert (first >= -1).all() and (last <= (640, 360)).all()


def test_a_picture_as_in_a_call_is_no_finer_than_its_photo(photo: Photo, cache: SourceCache) -> None:
    """So the network rests on a coarse photo, however large it is shown."""
    small = Photo(frame=np.ascontiguousarray(photo.frame[::4, ::4]), sha256="small", path=Path("small.jpg"))
    reenactor = Reenactor(
        Bundle.load(DEFAULT_BUNDLE), size_px=None, source_cache=cache, still_border=True, view_px=(640, 360)
    )
    source = reenactor.prepare_source(small)
    (face,) = faces_of(small.frame)
    iod_px = float(np.linalg.norm(face.points_px[33, :2] - face.points_px[263, :2]))
    assert photo_facts(source.cache).iod_px == pytest.approx(iod_px, rel=0.1)
    assert float(source.cache["view_scale"]) < 0.8


def test_the_crop_leads_back_into_the_photo(source: PreparedSource, photo: Photo) -> None:
    assert source.photo_frame is photo.frame
    scale = source.crop_to_photo[0, 0]
    first, last = np.array([[0, 0, 1], [SIDE - 1, SIDE - 1, 1]]) @ source.crop_to_photo.T
    assert (first >= -1).all() and (last <= np.array(photo.frame.shape[1::-1])).all()
    np.testing.assert_allclose(last - first, (SIDE - 1) * scale)


def test_native_keeps_the_photos_resolution(photo: Photo, cache: SourceCache) -> None:
    source = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=None, source_cache=cache).prepare_source(photo)
    assert source.size_px[0] % 32 == 0
    assert source.crop_to_photo[0, 0] == pytest.approx(1.0, abs=0.05)


def test_sources_can_be_switched(reenactor: Reenactor, source: PreparedSource, couple: Photo) -> None:
    other = reenactor.prepare_source(couple, face=2)
    for shown in (other, source, other):
        reenactor.set_source(shown)
        np.testing.assert_array_equal(reenactor.animate(neutral()), shown.neutral)
    assert (other.neutral != source.neutral).any()


def test_a_source_is_prepared_while_another_is_shown(
    source: PreparedSource, couple: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()

    def after_a_frame(**settings: Any) -> LandmarkDetector:
        assert shown.wait(60)
        return open_detector(**settings)

    monkeypatch.setattr(module, "open_detector", after_a_frame)
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=SourceCache(tmp_path))
    reenactor.set_source(source)
    expected = reenactor.animate(asked(AU12=0.7)).copy()
    prepared: list[PreparedSource] = []
    thread = threading.Thread(target=lambda: prepared.append(reenactor.prepare_source(couple)))
    thread.start()
    while thread.is_alive():
        np.testing.assert_array_equal(reenactor.animate(asked(AU12=0.7)), expected)
        shown.set()
    assert len(prepared) == 1


def test_it_says_in_one_line_what_was_picked(reenactor: Reenactor) -> None:
    assert reenactor.describe().startswith("engine: host warp")
    assert "\n" not in reenactor.describe()


# Faces


def test_of_several_faces_the_largest_is_taken_and_said(reenactor: Reenactor, couple: Photo) -> None:
    largest = reenactor.prepare_source(couple)
    assert largest.crop_to_photo[0, 2] < 700
    (note,) = largest.notes
    assert note.startswith("couple.jpg: 2 faces, from left to right: 1 at (") and "number 1 is taken" in note
    # Told again when it comes from the cache, with the name that the file has by then.
    (note,) = reenactor.prepare_source(replace(couple, path=Path("us.png"))).notes
    assert note.startswith("us.png: 2 faces")


def test_a_face_can_be_chosen(reenactor: Reenactor, couple: Photo) -> None:
    second = reenactor.prepare_source(couple, face=2)
    assert second.crop_to_photo[0, 2] > 700
    assert second.notes == ()


def test_one_face_needs_no_note(source: PreparedSource) -> None:
    assert source.notes == ()


@pytest.mark.parametrize("face", [0, -1, 3])
def test_a_face_that_is_not_there(reenactor: Reenactor, couple: Photo, face: int) -> None:
    with pytest.raises(ConfigError, match=r"couple\.jpg: 2 found, counted from 1"):
        reenactor.prepare_source(couple, face=face)


def test_no_face_is_one_line_with_the_file(reenactor: Reenactor) -> None:
    plain = Photo(frame=np.full((200, 300, 3), 90, np.uint8), sha256="wall", path=Path("wall.jpg"))
    with pytest.raises(SourceError, match=r"no face found in .*wall\.jpg;"):
        reenactor.prepare_source(plain)
    reduced = r"no face found in .*wall\.jpg after the photo was reduced to 300×200 pixels;"
    with pytest.raises(SourceError, match=reduced):
        reenactor.prepare_source(replace(plain, reduced=True))


def test_a_face_that_is_too_small_names_its_photo(reenactor: Reenactor, photo: Photo) -> None:
    tiny = Photo(frame=np.ascontiguousarray(photo.frame[::14, ::14]), sha256="tiny", path=Path("tiny.jpg"))
    with pytest.raises(SourceError, match=r"tiny\.jpg"):
        reenactor.prepare_source(tiny)


# The cache


@pytest.mark.usefixtures("no_detector")
def test_the_second_time_comes_from_the_cache_and_looks_the_same(
    reenactor: Reenactor, source: PreparedSource, photo: Photo
) -> None:
    """Whatever the file is called: its content counts."""
    second = reenactor.prepare_source(replace(photo, path=Path("renamed.jpg")))
    np.testing.assert_array_equal(second.crop_to_photo, source.crop_to_photo)
    attributes = neutral()
    attributes[3:] = 0.4
    reenactor.set_source(source)
    expected = reenactor.animate(attributes).copy()
    reenactor.set_source(second)
    np.testing.assert_array_equal(reenactor.animate(attributes), expected)


@pytest.mark.usefixtures("source", "no_detector")
@pytest.mark.parametrize("what", ["photo", "face", "size", "bundle", "tracker", "network"])
def test_whatever_changes_the_result_is_part_of_the_key(
    photo: Photo, cache: SourceCache, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    bundle = Bundle.load(DEFAULT_BUNDLE)
    if what == "tracker":
        monkeypatch.setattr("icface.preparation.MODEL_SHA256", "another")
    reenactor = Reenactor(
        structs.replace(bundle, sha256="another") if what == "bundle" else bundle,
        size_px=SIDE + 32 if what == "size" else SIDE,
        source_cache=cache,
    )
    # The network that is here otherwise does not run.
    reenactor._engine.geometry_alone = what == "network"
    changed = replace(photo, sha256="another") if what == "photo" else photo
    with pytest.raises(AssertionError, match="prepared again"):
        reenactor.prepare_source(changed, face=2 if what == "face" else None)


def test_a_source_whose_network_failed_is_not_kept(
    photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=SourceCache(tmp_path))
    monkeypatch.setattr("icface.engines.backends.host.NETWORK_ENGINES", ())
    assert reenactor.has_network
    reenactor.prepare_source(photo)
    assert not (tmp_path / "sources").exists()
    monkeypatch.undo()
    reenactor.prepare_source(photo)
    assert len(list((tmp_path / "sources").iterdir())) == 1


def test_a_damaged_cache_is_made_again(source: PreparedSource, photo: Photo, tmp_path: Path) -> None:
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=SourceCache(tmp_path))
    reenactor.prepare_source(photo)
    (path,) = (tmp_path / "sources").iterdir()
    path.write_bytes(path.read_bytes()[:5000])
    np.testing.assert_array_equal(reenactor.prepare_source(photo).neutral, source.neutral)
    assert path.stat().st_size > 5000


def test_it_works_without_a_cache(source: PreparedSource, photo: Photo, tmp_path: Path) -> None:
    (tmp_path / "in_the_way").touch()
    nowhere = SourceCache(tmp_path / "in_the_way")
    reenactor = Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=SIDE, source_cache=nowhere)
    np.testing.assert_array_equal(reenactor.prepare_source(photo).neutral, source.neutral)


# Refusals


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_attributes_that_are_no_numbers(reenactor: Reenactor, source: PreparedSource, value: float) -> None:
    reenactor.set_source(source)
    with pytest.raises(ValueError, match="45 finite numbers, or 20"):
        reenactor.animate(asked(AU12=value))


@pytest.mark.parametrize("shape", [(19,), (1, 20), (21,), ()])
def test_neither_all_attributes_nor_the_papers_twenty(
    reenactor: Reenactor, source: PreparedSource, shape: tuple[int, ...]
) -> None:
    reenactor.set_source(source)
    with pytest.raises(ValueError, match="45 finite numbers, or 20"):
        reenactor.animate(np.zeros(shape, dtype=np.float32))


def test_the_papers_twenty_alone_are_enough(reenactor: Reenactor, source: PreparedSource) -> None:
    reenactor.set_source(source)
    whole = reenactor.animate(asked(AU12=0.7, yaw=0.6)).copy()
    np.testing.assert_array_equal(reenactor.animate(asked(AU12=0.7, yaw=0.6)[:COUNT]), whole)


def test_attributes_beyond_their_range_are_clipped(reenactor: Reenactor, source: PreparedSource) -> None:
    reenactor.set_source(source)
    full = reenactor.animate(asked(AU26=1.0, yaw=0.0)).copy()
    beyond = asked(AU26=7.0, yaw=-3.0)
    np.testing.assert_array_equal(reenactor.animate(beyond), full)
    assert beyond[INDEX["AU26"]] == 7.0  # the caller's array is left alone


def test_before_there_is_a_source(reenactor: Reenactor) -> None:
    with pytest.raises(EngineError, match="no source is set"):
        reenactor.animate(neutral())


@pytest.mark.parametrize("size_px", [0, 63, 2049])
def test_sizes_out_of_range_are_refused(size_px: int) -> None:
    with pytest.raises(ConfigError, match="choose 64 to 2048"):
        Reenactor(Bundle.load(DEFAULT_BUNDLE), size_px=size_px)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"family": "paper"}, "wants the host code icface.geometry"),
        ({"host_code": "somebody.else"}, "wants the host code somebody.else"),
        ({"attribute_scale": "openface"}, "takes full-shape attributes"),
        (
            {"neutralise": Bundle.load(DEFAULT_BUNDLE).graph},
            "its variant neutralise are not those of the warp",
        ),
    ],
)
def test_a_model_that_needs_what_is_not_here(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BundleError, match=f"cannot be run by this version: .*{why}.*; upgrade"):
        Reenactor(structs.replace(Bundle.load(DEFAULT_BUNDLE), **changes))


def test_once_closed_it_shows_nothing(reenactor: Reenactor, source: PreparedSource) -> None:
    reenactor.set_source(source)
    reenactor.close()
    with pytest.raises(EngineError, match="no source is set"):
        reenactor.animate(neutral())


def test_extensions_move_the_face_where_the_bundle_takes_them(
    cache: SourceCache, source: PreparedSource, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = Bundle.load(DEFAULT_BUNDLE)
    wink = neutral()
    wink[[INDEX["AU45"], INDEX["AU45_side"], INDEX["place_x"]]] = 0.5, 1.0, 0.3
    blink = wink.copy()
    blink[COUNT:] = 0.0
    taking, ignoring = (
        Reenactor(
            structs.replace(bundle, extensions=names), size_px=SIDE, source_cache=cache, corrected=False
        )
        for names in (bundle.extensions, ())
    )
    taking.set_source(source)
    ignoring.set_source(source)
    with caplog.at_level("DEBUG", "icface"):
        winking, blinking = taking.animate(wink).copy(), taking.animate(blink).copy()
        assert "does not show" not in caplog.text
        for _ in range(3):
            np.testing.assert_array_equal(ignoring.animate(wink), blinking)
    assert (winking != blinking).any()
    assert caplog.text.count("does not show AU45_side") == 1
    assert wink[INDEX["AU45_side"]] == 1.0  # the caller's array is left alone
