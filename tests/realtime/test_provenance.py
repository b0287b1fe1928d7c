"""Provenance: what a recorded file says about itself, read back from the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from realtime.disclosure import DIGITAL_SOURCE_TYPE, Provenance
from realtime.sinks import SinkSettings
from tests.realtime.fakes import open_sink

SHA = "0123456789abcdef" * 4


def test_the_tags_hold_every_fact() -> None:
    berlin = timezone(timedelta(hours=1))
    provenance = Provenance(
        source_sha256=(SHA,),
        version="1.2",
        model="edge",
        created=datetime(2026, 11, 20, 13, 30, tzinfo=berlin),
    )
    tags = provenance.metadata()
    assert tags["creation_time"] == "2026-11-20T12:30:00+00:00"
    assert tags["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert "Synthetic media" in tags["title"]
    assert "ICface Live 1.2" in tags["comment"]
    assert json.loads(tags["provenance"]) == {
        "created": "2026-11-20T12:30:00+00:00",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic",
        "generator": "ICface Live 1.2",
        "model": "edge",
        "sourceSha256": [SHA],
    }


def test_without_a_date_it_is_now() -> None:
    created = datetime.fromisoformat(Provenance().metadata()["creation_time"])
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_recorded_file_carries_them(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    provenance = Provenance(source_sha256=(SHA,), version="1.2", model="edge")
    settings = SinkSettings(path=path, provenance=provenance)
    with open_sink("video_file", settings, width_px=64, height_px=48, fps=Fraction(25)) as sink:
        for index in range(3):
            sink.send(np.zeros((48, 64, 3), np.uint8), index / 25)
    with av.open(str(path)) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert json.loads(tags["provenance"])["sourceSha256"] == [SHA]
    assert "Synthetic media" in tags["title"]
    assert "ICface Live 1.2" in tags["comment"]
    assert datetime.fromisoformat(tags["creation_time"].replace("Z", "+00:00"))
