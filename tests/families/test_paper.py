"""The paper family run by the Reenactor: what it shows is what the networks in torch give for the same crop."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
import torch
from msgspec import structs

from export.pack_paper import pack
from icface import preparation as module
from icface.attributes import COUNT, INDEX, neutral, to_openface
from icface.bundle import Bundle
from icface.engines import available
from icface.errors import BundleError, EngineError, SourceError
from icface.face import suitability
from icface.face.alignment import align
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.face.pose import Pose
from icface.families import open_family
from icface.images import Photo, cut_crop, load_photo
from icface.networks import ModelInfo
from icface.networks.config import GeneratorConfig, NetworksConfig
from icface.networks.icface import ICface
from icface.prepared_source import PreparedSource
from icface.reenactor import Reenactor
from icface.source_cache import SourceCache
from icface.variants import TensorSpec, Variant
from tests.export.models import frame_of, image_of, random_model

pytestmark = pytest.mark.slow  # torch exports a graph for most of them

SIDE = 64
NETWORKS = NetworksConfig(size_px=SIDE, generator=GeneratorConfig(width=8, blocks=1))
GRAPH_ENGINES = tuple(name for name in available() if name != "host")


def info(networks: NetworksConfig = NETWORKS, scale: str = "full-shape") -> ModelInfo:
    return ModelInfo(networks=networks, attribute_scale=scale, provenance="random", licence="MIT", step=7)


@pytest.fixture(scope="module")
def model() -> ICface:
    return random_model(NETWORKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def bundle(model: ICface, folder: Path) -> Bundle:
    return pack(model, info(), folder / "model.icface", name="small")


@pytest.fixture(scope="module")
def photo(repository: Path) -> Photo:
    return load_photo(repository / "examples/rendered.jpg")


@pytest.fixture(scope="module")
def cache(folder: Path) -> SourceCache:
    return SourceCache(folder / "cache")


@pytest.fixture(scope="module")
def crop(photo: Photo) -> np.ndarray:
    """What the networks see of the photo."""
    detector = open_detector(video=False, refined=True)
    (face,) = detector.detect(photo.frame)
    detector.close()
    return cut_crop(photo.frame, align(face, SIDE), SIDE)


@pytest.fixture(scope="module")
def source(bundle: Bundle, photo: Photo, cache: SourceCache) -> PreparedSource:
    return Reenactor(bundle, size_px=SIDE, source_cache=cache).prepare_source(photo)


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the photo was prepared again")

    for name in ("faces_of", "open_detector"):
        monkeypatch.setattr(module, name, refuse)


def asked(**values: float) -> np.ndarray:
    attributes = neutral()
    for name, value in values.items():
        attributes[INDEX[name]] = value
    return attributes


SMILING = asked(AU12=0.7, yaw=0.8, AU45=0.3)


def by_torch(model: ICface, crop: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return frame_of(model(image_of(crop).float(), torch.from_numpy(attributes[:COUNT])[None]))


def assert_same_picture(found: np.ndarray, expected: np.ndarray) -> None:
    """Within a level, where float32 rounds to the other side."""
    assert found.dtype == np.uint8 and found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.02


@pytest.mark.parametrize("engine", ["auto", *GRAPH_ENGINES])
def test_frames_are_those_of_the_networks(
    engine: str, bundle: Bundle, model: ICface, photo: Photo, crop: np.ndarray, tmp_path: Path
) -> None:
    try:
        reenactor = Reenactor(bundle, engine, size_px=SIDE, source_cache=SourceCache(tmp_path))
    except EngineError as error:
        if not any(words in str(error) for words in ("not installed", "no NVIDIA GPU", "is built for")):
            raise
        pytest.skip(str(error))
    source = reenactor.prepare_source(photo)
    with torch.no_grad():
        assert_same_picture(source.neutral, frame_of(model.neutralise(image_of(crop).float())))
    reenactor.set_source(source)
    rest = reenactor.animate(neutral()).copy()
    assert_same_picture(rest, by_torch(model, crop, neutral()))
    smiling = reenactor.animate(SMILING)
    assert_same_picture(smiling, by_torch(model, crop, SMILING))
    assert np.abs(smiling.astype(int) - rest).mean() > 1
    assert "small, golden frame" in reenactor.describe()
    reenactor.close()


def test_a_model_of_openfaces_scale_gets_its_own(
    model: ICface, photo: Photo, crop: np.ndarray, tmp_path: Path
) -> None:
    bundle = pack(model, info(scale="openface"), tmp_path / "m.icface", name="openface")
    reenactor = Reenactor(bundle, size_px=SIDE, source_cache=SourceCache(tmp_path))
    reenactor.set_source(reenactor.prepare_source(photo))
    assert_same_picture(reenactor.animate(SMILING), by_torch(model, crop, to_openface(SMILING)))
    # Clipped on the scale that they were asked on.
    assert_same_picture(
        reenactor.animate(asked(AU12=9.0)), by_torch(model, crop, to_openface(asked(AU12=1.0)))
    )


@pytest.mark.parametrize(
    "networks",
    [
        structs.replace(NETWORKS, neutraliser=False),
        structs.replace(NETWORKS, generator=GeneratorConfig(width=6, blocks=1, padding="zero", norm="none")),
    ],
    ids=["without neutraliser", "zero padding"],
)
@pytest.mark.parametrize("split", [True, False])
def test_other_networks(
    networks: NetworksConfig, split: bool, photo: Photo, crop: np.ndarray, tmp_path: Path
) -> None:
    model = random_model(networks)
    bundle = pack(model, info(networks), tmp_path / "m.icface", name="other", split=split)
    reenactor = Reenactor(bundle, size_px=SIDE, source_cache=SourceCache(tmp_path))
    source = reenactor.prepare_source(photo)
    if not networks.neutraliser:
        np.testing.assert_array_equal(source.neutral, crop)
    reenactor.set_source(source)
    assert_same_picture(reenactor.animate(SMILING), by_torch(model, crop, SMILING))


# Sizes


@pytest.mark.parametrize(
    ("size_px", "side"), [(256, 256), (512, 512), (100, 100), (None, SIDE), (SIDE, SIDE)]
)
def test_frames_are_scaled_to_the_size_asked_for(
    size_px: int | None, side: int, bundle: Bundle, photo: Photo, cache: SourceCache, source: PreparedSource
) -> None:
    own = Reenactor(bundle, size_px=SIDE, source_cache=cache)
    own.set_source(source)
    plain = own.animate(SMILING)
    scaled = Reenactor(bundle, size_px=size_px, source_cache=cache)
    other = scaled.prepare_source(photo)
    assert other.size_px == (side, side)
    assert scaled.describe().endswith(
        " dB" if side == SIDE else f"; its {SIDE} px frames are scaled to {side}"
    )
    scaled.set_source(other)
    frame = scaled.animate(SMILING)
    assert frame.shape == (side, side, 3) and frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, cv2.resize(plain, (side, side), interpolation=cv2.INTER_CUBIC))
    # The same square of the photo, edge to edge.
    for source_, pixels in ((source, SIDE), (other, side)):
        edges = np.array([[-0.5, -0.5, 1], [pixels - 0.5, pixels - 0.5, 1]]) @ source_.crop_to_photo.T
        if source_ is source:
            expected = edges
        np.testing.assert_allclose(edges, expected)


def test_where_it_fades_into_the_photo_there_is_no_face(
    bundle: Bundle, photo: Photo, source: PreparedSource
) -> None:
    detector = open_detector(video=False, refined=True)
    (face,) = detector.detect(photo.frame)
    detector.close()
    scale, corner = source.crop_to_photo[0, 0], source.crop_to_photo[:, 2]
    inside = (face.points_px[:, :2] - corner) / scale / SIDE
    assert 0.1 < source.rim < min(inside.min(), 1 - inside.max())


def test_a_frame_is_written_where_the_last_one_was(bundle: Bundle, photo: Photo, cache: SourceCache) -> None:
    """Nothing is allocated for it; what was shown of another source is not left in it."""
    reenactor = Reenactor(bundle, size_px=256, source_cache=cache)
    reenactor.set_source(reenactor.prepare_source(photo))
    first = reenactor.animate(neutral())
    kept = first.copy()
    assert reenactor.animate(SMILING) is first
    assert (first != kept).any()
    np.testing.assert_array_equal(reenactor.animate(neutral()), kept)


def test_smaller_than_the_model(photo: Photo, tmp_path: Path) -> None:
    networks = structs.replace(NETWORKS, size_px=128, generator=GeneratorConfig(width=2, blocks=0))
    bundle = pack(random_model(networks), info(networks), tmp_path / "m.icface", name="larger")
    reenactor = Reenactor(bundle, size_px=64, source_cache=SourceCache(tmp_path))
    source = reenactor.prepare_source(photo)
    reenactor.set_source(source)
    assert reenactor.animate(SMILING).shape == source.neutral.shape == (64, 64, 3)


# Sources


@pytest.mark.usefixtures("source", "no_detector")
def test_all_sizes_share_what_was_prepared_once(bundle: Bundle, photo: Photo, cache: SourceCache) -> None:
    for size_px in (256, 512, None):
        Reenactor(bundle, size_px=size_px, source_cache=cache).prepare_source(photo)
    other = Reenactor(structs.replace(bundle, sha256="another"), size_px=SIDE, source_cache=cache)
    with pytest.raises(AssertionError, match="prepared again"):
        other.prepare_source(photo)


def test_from_the_cache_it_is_the_same(bundle: Bundle, photo: Photo, tmp_path: Path) -> None:
    reenactor = Reenactor(bundle, size_px=SIDE, source_cache=SourceCache(tmp_path))
    frames = []
    for _ in range(2):
        reenactor.set_source(reenactor.prepare_source(photo))
        frames.append(reenactor.animate(SMILING).copy())
    np.testing.assert_array_equal(frames[0], frames[1])


def test_a_source_is_prepared_while_another_is_shown(
    bundle: Bundle, photo: Photo, source: PreparedSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two graphs at once, each with its own thread; and the other source is another face."""
    shown = threading.Event()

    def after_a_frame(**settings: Any) -> LandmarkDetector:
        assert shown.wait(60)
        return open_detector(**settings)

    monkeypatch.setattr(module, "open_detector", after_a_frame)
    mirrored = Photo(np.ascontiguousarray(photo.frame[:, ::-1]), "mirrored", Path("mirrored.jpg"))
    reenactor = Reenactor(bundle, size_px=SIDE, source_cache=SourceCache(tmp_path))
    reenactor.set_source(source)
    expected = reenactor.animate(SMILING).copy()
    prepared: list[PreparedSource] = []
    thread = threading.Thread(target=lambda: prepared.append(reenactor.prepare_source(mirrored)))
    thread.start()
    while thread.is_alive():
        np.testing.assert_array_equal(reenactor.animate(SMILING), expected)
        shown.set()
    (other,) = prepared
    reenactor.set_source(other)
    assert (reenactor.animate(SMILING) != expected).mean() > 0.2


def test_a_face_that_is_too_small(bundle: Bundle, photo: Photo, tmp_path: Path) -> None:
    tiny = Photo(np.ascontiguousarray(photo.frame[::14, ::14]), "tiny", Path("tiny.jpg"))
    with pytest.raises(SourceError, match=r"tiny\.jpg: .*at least 48|no face found in tiny\.jpg"):
        Reenactor(bundle, size_px=SIDE, source_cache=SourceCache(tmp_path)).prepare_source(tiny)


@pytest.mark.parametrize("pose", [Pose(0.0, 0.9, 0.0), Pose(-0.9, 0.0, 0.0)])
def test_a_face_that_is_turned_away(
    bundle: Bundle, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pose: Pose
) -> None:
    monkeypatch.setattr(suitability, "head_pose", lambda landmarks: pose)
    reenactor = Reenactor(bundle, size_px=SIDE, source_cache=SourceCache(tmp_path))
    with pytest.raises(SourceError, match=r"rendered\.jpg: the face in the photo is turned by 52°"):
        reenactor.prepare_source(photo)


# Bundles that this version cannot run


def without(variant: Variant, name: str) -> Variant:
    return structs.replace(
        variant,
        motion=tuple(spec for spec in variant.motion if spec.name != name),
        outputs=tuple(spec for spec in variant.outputs if spec.name != name),
    )


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("host code", "wants the host code icface.geometry"),
        ("alignment", "trained on crops by 'eyes on a line', not by"),
        ("size", "states no size"),
        ("neutralise", "no graph to neutralise a photo"),
        ("person", "it knows one person"),
        ("crop", "do not take or give crop"),
        ("attributes", "do not take or give attributes as float32"),
        ("frame", "do not take or give frame as uint8"),
        ("neutral", "do not give neutral"),
    ],
)
def test_a_bundle_that_is_made_otherwise(bundle: Bundle, what: str, words: str) -> None:
    assert bundle.neutralise is not None
    changed: dict[str, dict[str, Any]] = {
        "host code": {"host_code": "icface.geometry"},
        "alignment": {"alignment": "eyes on a line"},
        "size": {"size_px": None},
        "neutralise": {"neutralise": None},
        "person": {"person": "person.safetensors"},
        "crop": {"neutralise": without(bundle.neutralise, "crop")},
        "attributes": {
            "variants": structs.replace(bundle.variants, graph=without(bundle.graph, "attributes"))
        },
        "frame": {
            "size_px": 128,
            "neutralise": structs.replace(bundle.neutralise, motion=larger(bundle, "crop")),
        },
        "neutral": {"neutralise": without(bundle.neutralise, "neutral")},
    }
    with pytest.raises(BundleError, match=f"cannot be run by this version: .*{words}.*; upgrade") as caught:
        open_family(structs.replace(bundle, **changed[what]))
    assert "\n" not in str(caught.value)


def larger(bundle: Bundle, name: str) -> tuple[TensorSpec, ...]:
    assert bundle.neutralise is not None
    return tuple(
        structs.replace(spec, shape=(128, 128, 3)) for spec in bundle.neutralise.motion if spec.name == name
    )


def test_the_host_engine_has_nothing_to_run(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="no variant that runs on the host"):
        Reenactor(bundle, "host", size_px=SIDE)
