"""Presets: those that ship do what their name says, own ones come back, and a broken one is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.attributes import GAZE_NAMES
from icface.control import presets, source
from icface.control.state import ControlState
from icface.errors import ConfigError

SHIPPED = ("avatar-idle", "calm", "eye-contact", "lively", "mouth-only", "still-head")


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, which is not there yet."""
    monkeypatch.setattr(presets, "folder", lambda: tmp_path / "presets")
    return tmp_path / "presets"


def test_six_ship_and_each_does_what_its_name_says() -> None:
    assert presets.names() == SHIPPED
    base = ControlState.default()
    loaded = {name: presets.load(name, base) for name in SHIPPED}
    assert (loaded["calm"].channel("yaw").gain, loaded["calm"].channel("AU12").gain) == (0.6, 0.6)
    assert (loaded["lively"].channel("yaw").gain, loaded["lively"].channel("AU12").gain) == (1.3, 1.3)
    assert loaded["calm"].channel("AU45").gain == 1.0, "eyes close"
    still, mouth = loaded["still-head"], loaded["mouth-only"]
    assert (still.channel("yaw").source, still.channel("AU12").source) == (source.photo, source.driver(1))
    moving = {name for name, channel in mouth.named().items() if channel.source == source.driver(1)}
    assert (
        "AU12" in moving
        and "AU12_side" in moving
        and not moving & {"yaw", "AU01", "AU45", "AU10", *GAZE_NAMES}
    )
    assert loaded["eye-contact"].channel("gaze_yaw").source == source.oscillator("camera")
    assert not loaded["avatar-idle"].takes_drivers
    assert presets.load("avatar-idle", ControlState.default(0)).channel("AU45").source == source.oscillator(
        "idle"
    )


def test_a_preset_changes_what_it_names_and_leaves_a_mix() -> None:
    mixed = ControlState.default(2).with_channels("mouth", source=source.driver(2))
    calm = presets.load("calm", mixed)
    assert (calm.channel("AU12").source, calm.channel("AU12").gain) == (source.driver(2), 0.6)


def test_an_own_one_comes_back_and_takes_the_place_of_a_shipped_one() -> None:
    state = ControlState.default(2, idle=True).with_channels("left mouth", source=source.driver(2), low=0.1)
    state = state.with_channels("brows", source=source.track('odd "name"\\.csv'))
    path = presets.save("my show", state)
    assert presets.names()[-1] == "my show" and path.suffix == ".toml"
    assert presets.load("my show", ControlState.default(2).with_channels("all", gain=3.0)) == state
    presets.save("calm", ControlState.default())
    assert presets.names().count("calm") == 1
    assert presets.load("calm", ControlState.default()) == ControlState.default()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("format_version = 9", "newer version"),
        ("format_version = 1\nchannels = {mouth = {gain = nan}}", "mouth: gain nan"),
        ("format_version = 1\nchannels = {mouth = {source = 'driver 2'}}", "there is only one"),
        ("gain =", "broken.toml"),
        (b"\xff\xfe", "broken.toml"),
    ],
)
def test_a_broken_one_is_one_line_that_names_the_file(own: Path, text: str | bytes, words: str) -> None:
    own.mkdir()
    path = own / "broken.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=words) as error:
        presets.load("broken", ControlState.default())
    assert "broken.toml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "../calm", "a/b", ".hidden", "x" * 80])
def test_a_name_is_a_file_s_name(name: str) -> None:
    with pytest.raises(ConfigError, match="no name for a preset"):
        presets.save(name, ControlState.default())


def test_an_unknown_one_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match="avatar-idle, calm"):
        presets.load("clam", ControlState.default())


def test_a_folder_that_cannot_be_written_is_one_line(own: Path) -> None:
    own.write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        presets.save("mine", ControlState.default())
