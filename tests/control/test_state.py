"""The state of control: names, changes, documents, and what cannot be."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from icface.attributes import ALL_NAMES, SIZE
from icface.control import source
from icface.control.groups import CONTROL_GROUPS, resolve
from icface.control.source import Source
from icface.control.state import Channel, ControlState
from icface.errors import ConfigError


def test_at_first_the_first_driver_moves_everything_and_without_one_the_photo_does() -> None:
    assert {channel.source for channel in ControlState.default().channels} == {source.driver(1)}
    assert {channel.source for channel in ControlState.default(0).channels} == {source.photo}
    assert len(ControlState.default().channels) == SIZE
    assert hash(ControlState.default(2)) == hash(ControlState.default(2))


@pytest.mark.parametrize(
    "text", ["driver 2", "photo", "neutral", "0.8", "-0.350399792", "track a b.csv", "idle", "camera"]
)
def test_a_source_is_its_text(text: str) -> None:
    assert str(Source.parse(text)) == text


@pytest.mark.parametrize("text", ["", "driver", "driver x", "driver 0", "nan", "inf", "track", "drvier 1"])
def test_what_is_no_source_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Source.parse(text)
    assert "\n" not in str(error.value)


def test_groups_hold_every_attribute_once() -> None:
    parts = [CONTROL_GROUPS[name] for name in ("pose", "gaze", "brows", "eyes", "nose", "mouth", "place")]
    flat = [name for part in parts for name in part]
    assert sorted(flat) == sorted(CONTROL_GROUPS["all"]) and len(set(flat)) == len(flat)
    followers = {name for name in ALL_NAMES if name.startswith("AU") and name.endswith("_side")}
    assert set(flat) | followers == set(ALL_NAMES)
    assert resolve("left brows") == ("left AU01", "left AU02", "left AU04")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AU2", "did you mean AU02"),
        ("moth", "did you mean mouth"),
        ("left pose", "not told apart"),
        ("", "neither"),
    ],
)
def test_an_unknown_name_says_what_there_is(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(name)


def test_an_action_unit_takes_its_difference_of_the_sides_with_it() -> None:
    state = ControlState.default(2).with_channels(
        "AU12", source=source.driver(2), gain=1.5, offset=0.1, locked=True
    )
    assert state.channel("AU12_side") == Channel(source=source.driver(2), gain=1.5, locked=True)
    assert state.with_channels("AU12", source=source.value(0.8)).channel("AU12_side").source == source.neutral


def test_one_side_is_set_apart_until_both_are_set_again() -> None:
    state = ControlState.default().with_channels("left AU12", gain=2.0)
    assert state.channel("left AU12").gain == 2.0
    assert state.channel("right AU12").gain == state.channel("AU12").gain == 1.0
    assert state.with_channels("mouth", gain=1.0) == ControlState.default()


def test_a_side_keeps_what_a_change_of_both_does_not_name() -> None:
    state = ControlState.default(2).with_channels("left AU12", source=source.value(0.8))
    state = state.with_channels("all", gain=1.2).with_channels("mouth", locked=True)
    assert state.channel("left AU12") == Channel(source=source.value(0.8), gain=1.2, locked=True)
    assert state.channel("right AU12") == Channel(gain=1.2, locked=True)
    assert state.with_channels("mouth", source=source.driver(1)).sides == ControlState.default().sides


def states() -> list[ControlState]:
    mixed = ControlState.default(2, mirrored=frozenset({2}), idle=True)
    mixed = mixed.with_channels("AU12", gain=2.0, low=0.1, high=0.9).with_channels("AU12_side", gain=1.0)
    mixed = mixed.with_channels("left brows", source=source.driver(2), smoothing_s=0.2)
    mixed = mixed.with_channels("yaw", source=source.value(0.350399), locked=True)
    return [
        ControlState.default(),
        ControlState.default(0),
        mixed,
        ControlState.default().with_channels("AU12", gain=2.0).with_channels("left AU12", gain=1.0),
        mixed.with_channels("gaze", source=source.oscillator("camera")),
    ]


@pytest.mark.parametrize("state", states())
def test_a_document_gives_the_state_again(state: ControlState) -> None:
    document = json.loads(json.dumps(state.to_dict()))
    assert ControlState.from_dict(document) == state
    before = ControlState.default(state.drivers).with_channels(
        "all", source=source.neutral, gain=3.0, low=0.2
    )
    assert ControlState.from_dict(document, before) == state


def test_a_document_that_is_not_whole_changes_what_it_names() -> None:
    before = ControlState.default(2).with_channels("mouth", source=source.driver(2))
    after = ControlState.from_dict({"format_version": 1, "channels": {"expression": {"gain": 0.6}}}, before)
    assert after.channel("AU12") == Channel(source=source.driver(2), gain=0.6)
    assert after.channel("yaw") == before.channel("yaw")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "format_version is missing"),
        ({"format_version": 2}, "newer version"),
        ({"format_version": 1, "colour": 1}, "unknown: colour"),
        ({"format_version": 1, "drivers": True}, "drivers cannot be True"),
        ({"format_version": 1, "mirrored": 1}, "mirrored cannot be 1"),
        ({"format_version": 1, "channels": []}, "must be a table"),
        ({"format_version": 1, "channels": {"moth": {"gain": 1.0}}}, "mouth"),
        ({"format_version": 1, "channels": {"mouth": 3}}, "mouth: must be a table"),
        ({"format_version": 1, "channels": {"mouth": {"gian": 1.0}}}, "mouth: unknown field 'gian'"),
        ({"format_version": 1, "channels": {"mouth": {"gain": math.nan}}}, "mouth: gain nan"),
        ({"format_version": 1, "channels": {"mouth": {"gain": "1"}}}, "mouth: gain cannot be '1'"),
        ({"format_version": 1, "channels": {"mouth": {"low": 0.9, "high": 0.1}}}, "mouth: low"),
        ({"format_version": 1, "channels": {"mouth": {"source": "driver 2"}}}, "takes driver 2, but there is only one"),
        ({"format_version": 1, "channels": {"mouth": {"source": "camera"}}}, "for gaze alone"),
        ({"format_version": 1, "channels": {"mouth": {"smoothing_s": -1.0}}}, "smoothing_s"),
    ],
)  # fmt: skip
def test_a_wrong_document_is_one_line(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        ControlState.from_dict(document)
    assert "\n" not in str(error.value)
