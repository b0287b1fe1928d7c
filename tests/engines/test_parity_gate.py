"""The gate: what it measures, what it lets through, what it refuses and how it says so."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.pack_paper import pack
from export.parity import (
    LEAST_PSNR_DB,
    Viewer,
    compared,
    gate,
    gate_frames,
    noisy,
    psnr_db,
    squared_error,
)
from export.precision import in_precision
from export.quantise import quantised
from export.running import Runner
from export.samples import EXAMPLE_PHOTO, Samples, collect, spread
from icface.arrays import Frame
from icface.attributes import COUNT, INDEX, AttributeTrack, neutral, read_csv, write_csv
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.errors import ConfigError, EngineError, RefusedError, SourceError
from icface.networks import ModelInfo
from tests.conftest import shared_file
from tests.export.models import NETWORKS, random_model

needs_example = pytest.mark.skipif(not EXAMPLE_PHOTO.is_file(), reason="examples/ is only in a checkout")


@pytest.fixture(scope="module")
def edge_samples() -> Samples:
    """The example's photo, 12 rows of the track, 256 pixels."""
    if not EXAMPLE_PHOTO.is_file():
        pytest.skip("examples/ is only in a checkout")
    return collect(Bundle.load(DEFAULT_BUNDLE), rows=12)


@pytest.fixture(scope="module")
def edge_graph() -> onnx.ModelProto:
    return onnx.load(str(Bundle.load(DEFAULT_BUNDLE).file("animate.onnx")))


@pytest.fixture(scope="module")
def faces(edge_samples: Samples, edge_graph: onnx.ModelProto) -> list[Frame]:
    """Moved faces, (256, 256, 3) each."""
    runner = Runner(edge_graph)
    return [runner.frame(feeds) for feeds in edge_samples.feeds()]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = NETWORKS["as published"]
    info = ModelInfo(networks=config, step=1, provenance="a test", licence="none")
    return pack(random_model(config), info, tmp_path_factory.mktemp("models") / "m.icface", name="random")


def test_decibels_by_hand() -> None:
    """One level everywhere: 20 · log10(255) = 48.13 dB; half of the pixels: 3 dB more."""
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert psnr_db(squared_error(grey + 1, grey)) == pytest.approx(48.13, abs=0.01)
    half = grey.copy()
    half[:2] += 1
    assert psnr_db(squared_error(half, grey)) == pytest.approx(51.14, abs=0.01)
    assert psnr_db(0.0) == 99.0


def test_pixels_alone_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    """No face in grey frames: the mean square of 0 and 2² is 2, the worst frame has 4."""
    grey = np.full((64, 64, 3), 100, np.uint8)
    with caplog.at_level(logging.WARNING):
        report = gate_frames([grey, grey], [grey, grey + 2], "fp16")
    assert report.psnr_db == pytest.approx(45.12, abs=0.01)
    assert report.worst_psnr_db == pytest.approx(42.11, abs=0.01)
    assert (report.frames, report.faces_compared, report.faces_lost) == (2, 0, 0)
    assert "no face was found to measure" in report.describe() and "pixels alone" in caplog.text
    with pytest.raises(
        RefusedError, match=r"fp16 against fp32: 42\.1 dB .* at least 45 dB is wanted, use .* fp32"
    ):
        gate_frames([grey], [grey + 2], "fp16")
    gate_frames([grey], [grey + 2], "int8")


def test_frames_must_go_together() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    with pytest.raises(EngineError, match="no frame is there to compare"):
        gate_frames([grey, grey], [grey], "fp16")
    with pytest.raises(EngineError, match="more frames"):
        gate_frames([grey], [grey, grey], "fp16")
    with pytest.raises(EngineError, match=r"a frame of \(32, 64, 3\)"):
        gate_frames([grey], [grey[:32]], "fp16")
    with pytest.raises(EngineError, match="there is no frame"):
        gate_frames([], [], "fp16")


def test_noise_of_one_level_changes_little(faces: list[Frame]) -> None:
    rng = np.random.default_rng(7)
    report = gate_frames(faces, [noisy(face, rng) for face in faces], "fp16")
    assert report.faces_compared == len(faces) and report.faces_lost == 0
    assert report.psnr_db == pytest.approx(49.9, abs=0.2)
    assert report.pose_error_deg < 0.3 and report.au_error < 0.03
    assert json.loads(json.dumps(report.to_dict()))["faces_compared"] == len(faces)
    assert "pose within" in report.describe() and "\n" not in report.describe()


def test_noise_is_one_level_at_most() -> None:
    frame = np.array([[[0, 128, 255]]] * 50, np.uint8)
    difference = noisy(frame, np.random.default_rng(0)).astype(int) - frame
    assert set(np.unique(difference)) == {-1, 0, 1} and difference[..., 0].min() == 0


def test_a_face_that_is_gone_is_refused(faces: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of twelve frames are grey, the others untouched; the pixels' bound, which sees that too, is taken away."""
    monkeypatch.setitem(LEAST_PSNR_DB, "int8", 0.0)
    spoilt = [np.full_like(face, 128) for face in faces[:2]] + faces[2:]
    report = compared(faces, spoilt, "int8")
    assert report.faces_lost == 2 and report.faces_compared == len(faces) - 2
    with pytest.raises(RefusedError, match="the face is lost in 2 frames"):
        gate_frames(faces, spoilt, "int8")


@pytest.mark.parametrize(("name", "precision"), [("AU45", "int8"), ("AU45", "fp16"), ("AU01", "fp16")])
def test_a_movement_that_is_gone_is_refused_though_the_pixels_are_near(
    edge_samples: Samples,
    edge_graph: onnx.ModelProto,
    faces: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    precision: str,
) -> None:
    """Eyes that never close, brows that never rise: more than 43 dB, and the tracker sees it."""
    monkeypatch.setitem(LEAST_PSNR_DB, precision, min(43.0, LEAST_PSNR_DB[precision]))
    without = edge_samples.attributes.copy()
    without[:, INDEX[name]] = 0.0
    runner = Runner(edge_graph)
    still = [runner.frame(feeds) for feeds in replace(edge_samples, attributes=without).feeds()]
    with pytest.raises(RefusedError, match=rf"{name} within .* more than under noise is allowed"):
        gate_frames(faces, still, precision)


def test_a_pose_that_differs_is_refused(faces: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rolled by 3°: 2° more than is allowed. The pixels' bound, which sees that too, is taken away."""
    monkeypatch.setitem(LEAST_PSNR_DB, "int8", 0.0)
    turned = [rotated(face, 3.0) for face in faces]
    report = compared(faces, turned, "int8")
    assert report.pose_error_deg == pytest.approx(3.0, abs=0.5)
    with pytest.raises(RefusedError, match=r"at most 1° more than under noise is allowed"):
        gate_frames(faces, turned, "int8")


def rotated(face: Frame, degrees: float) -> Frame:
    """Rolled about the middle."""
    side = face.shape[0]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(face, turn, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def test_a_viewer_measures_small_frames(faces: list[Frame]) -> None:
    viewer = Viewer()
    try:
        small = cv2.resize(faces[0], (64, 64), interpolation=cv2.INTER_AREA)
        large, little = viewer.measure(faces[0]), viewer.measure(np.asarray(small, np.uint8))
        assert viewer.measure(np.zeros((64, 64, 3), np.uint8)) is None
    finally:
        viewer.close()
    assert large is not None and little is not None
    assert np.abs(large[:3] - little[:3]).max() < 0.05


@needs_example
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_edge_graph_passes_in_every_precision(
    edge_graph: onnx.ModelProto, edge_samples: Samples, precision: str
) -> None:
    """It is float32 in all of them."""
    report = gate(
        Bundle.load(DEFAULT_BUNDLE), edge_graph, in_precision(edge_graph, precision), precision, edge_samples
    )
    assert report.psnr_db == 99.0 and report.au_error <= 0.01 and report.faces_compared == len(edge_samples)
    assert report.golden_psnr_db is not None and report.golden_psnr_db > 60


@needs_example
def test_a_graph_whose_weights_are_spoilt_is_refused_with_the_figure(paper: Bundle) -> None:
    samples = collect(paper, rows=8)
    graph = onnx.load(str(paper.file("animate.onnx")))
    good = gate(paper, graph, in_precision(graph, "fp16"), "fp16", samples)
    assert good.psnr_db > 45 and good.golden_psnr_db is not None and good.golden_psnr_db > 45
    spoilt = in_precision(graph, "fp16")
    weight = max(spoilt.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    values = numpy_helper.to_array(weight)
    noise = np.random.default_rng(0).normal(0, 0.1 * values.astype(np.float32).std(), values.shape)
    weight.CopyFrom(numpy_helper.from_array((values + noise).astype(values.dtype), weight.name))
    with pytest.raises(
        RefusedError, match=r"^fp16 against fp32: \d+\.\d dB over 8 frames, .* 45 dB is wanted"
    ):
        gate(paper, graph, spoilt, "fp16", samples)


@needs_example
def test_a_graph_that_ignores_the_attributes_is_refused(paper: Bundle) -> None:
    """Its table of attributes is zeros: a picture, and always the same."""
    samples = collect(paper, rows=8)
    graph = onnx.load(str(paper.file("animate.onnx")))
    deaf = in_precision(graph, "fp32")
    (table,) = (each for each in deaf.graph.initializer if each.dims[0] == COUNT and len(each.dims) == 2)
    table.CopyFrom(numpy_helper.from_array(np.zeros(tuple(table.dims), np.float32), table.name))
    with pytest.raises(RefusedError, match=r"dB is wanted, use --precision fp16$"):
        gate(paper, graph, deaf, "int8", samples)


@needs_example
def test_int8_calibrated_and_compared_on_the_same_samples(paper: Bundle) -> None:
    samples = collect(paper, rows=8)
    graph = onnx.load(str(paper.file("animate.onnx")))
    report = gate(paper, graph, quantised(graph, samples.calibration()), "int8", samples)
    assert 38 <= report.psnr_db < 60, report.describe()


def test_rows_that_differ_most_are_taken_in_their_order() -> None:
    """From a hundred that hardly move, one blink and one turned head."""
    rows = np.stack([neutral()] * 100)
    rows[:, INDEX["AU12"]] = np.linspace(0, 0.05, 100)
    rows[70, INDEX["AU45"]] = 1.0
    rows[30, INDEX["yaw"]] = 0.9
    taken = spread(rows, 4)
    assert taken.shape == (4, COUNT) and taken.dtype == np.float32
    np.testing.assert_array_equal(taken[:, INDEX["AU45"]].max(), 1.0)
    np.testing.assert_allclose(taken[:, INDEX["yaw"]].max(), 0.9)
    assert np.all(np.diff(taken[:, INDEX["AU12"]]) > 0)
    assert spread(rows, 100) is rows and len(spread(np.stack([neutral()] * 5), 3)) == 3


def test_the_track_that_comes_along_shows_what_matters() -> None:
    from export.samples import TRACK

    track = read_csv(TRACK)
    low, high = track.values.min(0), track.values.max(0)
    assert len(track) == 120 and track.present.all()
    assert low[INDEX["yaw"]] < 0.3 and high[INDEX["yaw"]] > 0.65
    for name in ("AU12", "AU25", "AU26", "AU45"):
        assert high[INDEX[name]] > 0.75 and low[INDEX[name]] < 0.01


@needs_example
def test_samples_of_both_families(paper: Bundle, edge_samples: Samples) -> None:
    edge = next(edge_samples.feeds())
    assert {name: value.shape for name, value in edge.items() if "map" in name} == {
        "skin_map": (256, 256, 2),
        "inner_map": (256, 256, 2),
    }
    assert "regions" not in edge and len(list(edge_samples.feeds())) == 12 and not edge_samples.crops
    samples = collect(paper, rows=3)
    (crop,) = samples.crops
    assert crop["crop"].shape == (32, 32, 3) and len(samples) == 3
    first, again = list(samples.feeds()), list(samples.calibration())
    for one, other in zip(first, again, strict=True):
        assert one["stem"].shape == (1, 8, 32, 32) and one["attributes"].shape == (1, COUNT)
        np.testing.assert_array_equal(one["attributes"], other["attributes"])
    assert not np.array_equal(first[0]["attributes"], first[1]["attributes"]), "each has its own"


@needs_example
def test_photos_without_a_face_are_left_out(
    paper: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grey = tmp_path / "grey.png"
    cv2.imwrite(str(grey), np.full((200, 200, 3), 128, np.uint8))
    with caplog.at_level(logging.WARNING):
        samples = collect(paper, [grey, EXAMPLE_PHOTO, tmp_path / "missing.jpg"], rows=2)
    assert len(samples.sources) == 1
    assert "grey.png is left out: no face" in caplog.text and "missing.jpg is left out" in caplog.text
    with pytest.raises(SourceError, match=r"^none of 1 photos has a face .* give others"):
        collect(paper, [grey], rows=2)


def test_an_installed_package_has_no_example(paper: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.samples.EXAMPLE_PHOTO", Path("nowhere/source.jpg"))
    with pytest.raises(SourceError, match="give photos of faces"):
        collect(paper)


def test_a_track_without_a_face_is_refused(paper: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    write_csv(
        path, AttributeTrack(times_s=np.zeros(1), values=neutral()[None], present=np.zeros(1, np.bool_))
    )
    with pytest.raises(ConfigError, match=r"no row of .*empty\.csv has a face"):
        collect(paper, track=path)


def test_photos_of_people_take_turns(paper: Bundle) -> None:
    photos = [shared_file(f"data/london/n_00{number}_03.jpg") for number in (1, 2)]
    samples = collect(paper, photos, rows=4)
    stems: list[Any] = [feeds["stem"] for feeds in samples.feeds()]
    assert len(samples.crops) == 2
    np.testing.assert_array_equal(stems[0], stems[2])
    assert not np.array_equal(stems[0], stems[1])
