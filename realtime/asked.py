"""The state of control that the flags ask for: `--preset`, `--only`, `--mix`, `--set`, `--gain`, `--lock`, `--gaze`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from icface.control import presets, source
from icface.control.groups import SIDED_NAMES, resolve
from icface.control.source import Source
from icface.control.state import ControlState
from icface.control.units import read_value
from icface.errors import ConfigError

if TYPE_CHECKING:
    from realtime.config import LiveConfig

_LARGEST_GAIN: Final = 10.0
_SOURCES: Final = ("photo", "neutral", *source.OSCILLATORS)


def state_of(config: LiveConfig, drivers: int, mirrored: frozenset[int] = frozenset()) -> ControlState:
    """The state at the start of a run with so many drivers, `mirrored` unless the preset says otherwise.

    What names less wins over what names more, whatever comes first: `--mix expression=1 --mix mouth=2`.

    Raises:
        ConfigError: a name, a number or a source that cannot be, or two sources for one.
    """
    state = ControlState.default(drivers, mirrored=mirrored)
    if config.preset is not None:
        state = presets.load(config.preset, state)
    if config.only:
        state = _only(state, config.only)
    if config.gaze == "camera":
        state = state.with_channels("gaze", source=source.oscillator("camera"))
    mixed = _pairs("--mix", config.mix, "GROUP=N, such as mouth=2")
    fixed = _pairs("--set", config.values, "NAME=VALUE, such as AU12=0.8 or yaw=-12deg")
    _check_once([*mixed, *fixed, *([("gaze", "camera")] if config.gaze == "camera" else [])])
    for name, text in fixed:
        if text in _SOURCES:
            raise ConfigError(f"--set {name}={text}: --set takes a number; write --mix {name}={text}")
    for name, text in _large_first([*mixed, *fixed]):
        if (name, text) in fixed:
            for one in resolve(name):
                value = read_value(one.rpartition(" ")[2], text)
                state = state.with_channels(one, source=source.value(value))
        else:
            state = _told("--mix", state, name, source=_source(f"{name}={text}", text))
    for name, text in _large_first(_pairs("--gain", config.gains, "NAME=GAIN, such as AU12=1.3")):
        state = _told("--gain", state, name, gain=_gain(f"{name}={text}", text))
    for name in config.locks:
        state = _told("--lock", state, name, locked=True)
    return replace(state, idle=config.idle or state.idle)


def _only(state: ControlState, names: Sequence[str]) -> ControlState:
    """The state with everything but these from the photo."""
    kept = {one: state.channel(one) for name in names for one in resolve(name)}
    state = state.with_channels("all", source=source.photo)
    for name, channel in kept.items():
        state = state.with_channels(name, source=channel.source)
    return state


def _pairs(flag: str, texts: Sequence[str], form: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"{flag} {text}: write {form}")
        try:
            resolve(name)
        except ConfigError as error:
            raise ConfigError(f"{flag} {text}: {error}") from error
        pairs.append((name, value))
    return pairs


def _check_once(pairs: Sequence[tuple[str, str]]) -> None:
    first: dict[tuple[str, ...], str] = {}
    for name, text in pairs:
        before = first.setdefault(resolve(name), text)
        if before is not text:
            raise ConfigError(f"{name} has two sources, {before} and {text}; give one of them")


def _large_first(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What names more comes first; of the same attributes, both sides before one."""

    def order(pair: tuple[str, str]) -> tuple[int, bool]:
        names = resolve(pair[0])
        return -len(names), names[0] in SIDED_NAMES

    return sorted(pairs, key=order)


def _source(what: str, text: str) -> Source:
    try:
        return source.driver(int(text)) if text.isdecimal() else Source.parse(text)
    except ConfigError as error:
        raise ConfigError(f"--mix {what}: {error}") from error


def _gain(what: str, text: str) -> float:
    try:
        gain = float(text)
    except ValueError:
        gain = float("nan")
    if not -_LARGEST_GAIN <= gain <= _LARGEST_GAIN:
        raise ConfigError(f"--gain {what}: a gain is a number up to {_LARGEST_GAIN:g}; 1 changes nothing")
    return gain


def _told(flag: str, state: ControlState, name: str, **changes: object) -> ControlState:
    try:
        return state.with_channels(name, **changes)
    except ConfigError as error:
        raise ConfigError(f"{flag} {name}: {error}") from error
