"""Samples: which photos and which rows are taken, and what graphs are given of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export.pack_paper import pack
from icface.attributes import COUNT, INDEX, SIZE, AttributeTrack, neutral
from icface.bundle import Bundle
from icface.engines.samples import EXAMPLE_PHOTO, TRACK, Samples, collect, spread
from icface.errors import ConfigError, SourceError
from icface.networks import ModelInfo
from icface.tables import read_csv, write_csv
from tests.conftest import shared_file
from tests.export.geometry_alone import geometry_alone
from tests.export.models import NETWORKS, random_model

needs_example = pytest.mark.skipif(not EXAMPLE_PHOTO.is_file(), reason="examples/ is only in a checkout")


@pytest.fixture(scope="module")
def edge_samples() -> Samples:
    """The example's photo, 12 rows of the track, 256 pixels."""
    if not EXAMPLE_PHOTO.is_file():
        pytest.skip("examples/ is only in a checkout")
    return collect(Bundle.load(geometry_alone()), rows=12)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = NETWORKS["no blocks"]
    info = ModelInfo(networks=config, step=1, provenance="a test", licence="none")
    return pack(random_model(config), info, tmp_path_factory.mktemp("models") / "m.icface", name="random")


def test_rows_that_differ_most_are_taken_in_their_order() -> None:
    """From a hundred that hardly move, one blink and one turned head."""
    rows = np.stack([neutral()] * 100)
    rows[:, INDEX["AU12"]] = np.linspace(0, 0.05, 100)
    rows[70, INDEX["AU45"]] = 1.0
    rows[30, INDEX["yaw"]] = 0.9
    taken = spread(rows, 4)
    assert taken.shape == (4, SIZE) and taken.dtype == np.float32
    np.testing.assert_array_equal(taken[:, INDEX["AU45"]].max(), 1.0)
    np.testing.assert_allclose(taken[:, INDEX["yaw"]].max(), 0.9)
    assert np.all(np.diff(taken[:, INDEX["AU12"]]) > 0)
    assert spread(rows, 100) is rows and len(spread(np.stack([neutral()] * 5), 3)) == 3


def test_the_track_that_comes_along_shows_what_matters() -> None:
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
    assert "regions" not in edge and len(list(edge_samples.feeds())) == 12
    samples = collect(paper, rows=3)
    assert samples.sources[0]["neutral"].shape == (48, 48, 3) and len(samples) == 3
    first, again = list(samples.feeds()), list(samples.feeds())
    for one, other in zip(first, again, strict=True):
        assert one["stem"].shape == (1, 5, 48, 48) and one["attributes"].shape == (1, COUNT)
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
    monkeypatch.setattr("icface.engines.samples.EXAMPLE_PHOTO", Path("nowhere/source.jpg"))
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
    assert len(samples.sources) == 2
    np.testing.assert_array_equal(stems[0], stems[2])
    assert not np.array_equal(stems[0], stems[1])
