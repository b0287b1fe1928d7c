"""The state of control: for each attribute its source, gain, limits and lock. Frozen; a change is a new state."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from icface.attributes import ALL_NAMES, GAZE_NAMES, INDEX, SIDE_NAMES
from icface.control import source as sources
from icface.control.groups import SIDED_NAMES, SIDES, resolve, side_of
from icface.control.source import Source
from icface.errors import ConfigError

FORMAT_VERSION: Final = 1
_ALONE: Final = ("offset", "low", "high")
"""What says nothing of `AUxx_side` when it is set for AUxx."""


_FIRST_DRIVER: Final = Source("driver", number=1)


@dataclass(frozen=True, kw_only=True)
class Channel:
    """How one attribute is made: `rest + gain * (source - rest) + offset`, within `low` and `high`.

    `rest` is neutral: .5 for pose, else 0. Offset and limits are in the attribute's range; None is the range itself.
    """

    source: Source = _FIRST_DRIVER
    gain: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    locked: bool = False
    """It stays as it was shown last."""
    smoothing_s: float = 0.0
    """Time constant of its own smoothing."""

    def __post_init__(self) -> None:
        numbers = {"gain": self.gain, "offset": self.offset, "smoothing_s": self.smoothing_s}
        numbers |= {name: at for name, at in (("low", self.low), ("high", self.high)) if at is not None}
        for name, number in numbers.items():
            if not math.isfinite(number):
                raise ConfigError(f"{name} {number} is not a finite number")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ConfigError(f"low {self.low:g} is more than high {self.high:g}")
        if self.smoothing_s < 0:
            raise ConfigError(f"smoothing_s {self.smoothing_s:g}: must be 0 seconds or more")


@dataclass(frozen=True, kw_only=True)
class ControlState:
    """Everything that control decides. Raises ConfigError where a channel names a driver that is not there."""

    channels: tuple[Channel, ...] = (Channel(),) * len(ALL_NAMES)
    """One for each of `attributes.ALL_NAMES`."""
    sides: tuple[Channel | None, ...] = (None,) * len(SIDED_NAMES)
    """One for each of `SIDED_NAMES`; None: that side moves as AUxx and AUxx_side say."""
    drivers: int = 1
    """How many there are."""
    mirrored: frozenset[int] = frozenset()
    """Numbers of the drivers that are shown as in a mirror."""
    idle: bool = False
    """The face blinks and breathes while no driver is there."""

    @classmethod
    def default(cls, drivers: int = 1, **others: Any) -> ControlState:
        """The first driver moves everything; the photo does where there is none."""
        return cls(channels=(Channel(source=_usual(drivers)),) * len(ALL_NAMES), drivers=drivers, **others)

    def __post_init__(self) -> None:
        for name, channel in self.named().items():
            if channel.source == sources.oscillator("camera") and name not in GAZE_NAMES:
                raise ConfigError(f"{name} cannot come from the camera; that is for gaze alone")
            if channel.source.kind == "driver" and channel.source.number > self.drivers:
                there = {0: "there is none", 1: "there is only one"}.get(
                    self.drivers, f"there are {self.drivers}"
                )
                raise ConfigError(f"{name} takes driver {channel.source.number}, but {there}")

    def named(self) -> dict[str, Channel]:
        """Every channel by its name, with those of single sides that are set."""
        sided = {name: side for name, side in zip(SIDED_NAMES, self.sides, strict=True) if side is not None}
        return dict(zip(ALL_NAMES, self.channels, strict=True)) | sided

    def channel(self, name: str) -> Channel:
        """Of an attribute, or of one side (`left AU12`)."""
        if name in INDEX:
            return self.channels[INDEX[name]]
        return self.named().get(name) or self.channel(name.partition(" ")[2])

    @property
    def takes_drivers(self) -> bool:
        """Whether anything comes from a driver."""
        return any(each.source.kind == "driver" for each in self.named().values())

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of the tracks that it plays."""
        found = [each.source.name for each in self.named().values() if each.source.kind == "track"]
        return tuple(dict.fromkeys(found))

    def with_channels(self, *names: str, **changes: Any) -> ControlState:
        """The state with these fields of Channel changed for attributes, groups or sides of them.

        AUxx takes AUxx_side with it: the same source, gain, lock and smoothing; a fixed value is that of both sides.
        A side that is set apart changes in the same way, and keeps what is not named.

        Raises:
            ConfigError: an unknown name, or a value that cannot be.
        """
        named = self.named()
        for name in (one for given in names for one in resolve(given)):
            if name in SIDED_NAMES:
                whole = named[name.partition(" ")[2]]
                named[name] = replace(named.get(name, whole), **changes)
            else:
                _change_whole(named, name, changes)
        channels = tuple(named[name] for name in ALL_NAMES)
        return replace(self, channels=channels, sides=tuple(map(named.get, SIDED_NAMES)))

    def with_source_replaced(self, before: Source, after: Source) -> ControlState:
        """The state with another source for everything that has this one."""

        def moved(channel: Channel) -> Channel:
            return replace(channel, source=after) if channel.source == before else channel

        sides = tuple(None if side is None else moved(side) for side in self.sides)
        return replace(self, channels=tuple(map(moved, self.channels)), sides=sides)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for TOML and JSON. `from_dict` gives an equal state again."""
        usual, named = Channel(source=_usual(self.drivers)), self.named()
        changed = {name for name, channel in named.items() if channel != usual or name in SIDED_NAMES}
        changed |= {other for name in changed if (other := side_of(name)) is not None}
        return {
            "format_version": FORMAT_VERSION,
            "whole": True,
            "drivers": self.drivers,
            "mirrored": sorted(self.mirrored),
            "idle": self.idle,
            "channels": {name: _plain(name, channel) for name, channel in named.items() if name in changed},
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any], base: ControlState | None = None) -> ControlState:
        """The state that a document means.

        `channels` may name groups; they are applied in their order, to the default where the document is `whole`, else
        to `base`. The drivers of `base` stay; without it there are as many as the document says.

        Raises:
            ConfigError: a newer format, an unknown field or name, a value that cannot be. One line.
        """
        unknown = set(document) - _DOCUMENT
        version = document.get("format_version")
        if not isinstance(version, int):
            raise ConfigError(f"format_version is missing; write format_version = {FORMAT_VERSION}")
        if version > FORMAT_VERSION:
            raise ConfigError(
                f"format_version {version} is of a newer version than this one, which reads {FORMAT_VERSION}"
            )
        if unknown:
            raise ConfigError(
                f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(sorted(_DOCUMENT))}"
            )
        drivers = base.drivers if base is not None else _checked("drivers", document.get("drivers", 1), int)
        others: dict[str, Any] = {}
        if "mirrored" in document:
            others["mirrored"] = _mirrored(document["mirrored"], drivers)
        if "idle" in document:
            others["idle"] = _checked("idle", document["idle"], bool)
        whole = _checked("whole", document.get("whole", False), bool)
        state = cls.default(drivers) if base is None else base
        if whole and base is not None:
            state = cls.default(drivers, mirrored=base.mirrored)
        state = replace(state, **others)
        channels = document.get("channels", {})
        if not isinstance(channels, dict):
            raise ConfigError("channels must be a table of attributes and groups")
        for name, changes in channels.items():
            try:
                state = state.with_channels(name, **_read(changes))
            except ConfigError as error:
                raise ConfigError(str(error) if name in str(error) else f"{name}: {error}") from error
        return state


_DOCUMENT: Final = {"format_version", "whole", "drivers", "mirrored", "idle", "channels", "about"}
_FIELDS: Final = {one.name for one in fields(Channel)}


_ONE_SIDE: Final = {*SIDE_NAMES, *SIDED_NAMES}


def _change_whole(named: dict[str, Channel], name: str, changes: dict[str, Any]) -> None:
    """Change an attribute in place, with what tells its sides apart. A side that is then as the whole goes."""
    named[name] = replace(named[name], **changes)
    other = side_of(name)
    if other is not None:
        named[other] = replace(named[other], **_of_difference(changes))
    for sided in (f"{side} {name}" for side in SIDES):
        if sided in named:
            named[sided] = replace(named[sided], **changes)
            if named[sided] == named[name]:
                del named[sided]


def _of_difference(changes: dict[str, Any]) -> dict[str, Any]:
    """What changes of AUxx mean for AUxx_side."""
    also = {key: at for key, at in changes.items() if key not in _ALONE}
    if "source" in also and also["source"].kind == "value":
        also["source"] = sources.neutral
    return also


def _usual(drivers: int) -> Source:
    return _FIRST_DRIVER if drivers else sources.photo


def _plain(name: str, channel: Channel) -> dict[str, Any]:
    """What differs from the usual; of one side everything, because the whole Action Unit may be set before it."""
    usual, values = Channel(), {"source": str(channel.source)}
    for field in sorted(_FIELDS - {"source"}):
        at = getattr(channel, field)
        if at is not None and (name in _ONE_SIDE or at != getattr(usual, field)):
            values[field] = at
    return values


def _read(changes: Any) -> dict[str, Any]:
    """The fields of a channel from a document's."""
    if not isinstance(changes, dict):
        raise ConfigError('must be a table, such as {source = "photo", gain = 1.2}')
    read: dict[str, Any] = {}
    for name, at in changes.items():
        if name not in _FIELDS:
            raise ConfigError(f"unknown field {name!r}; expected {', '.join(sorted(_FIELDS))}")
        if name == "source":
            read[name] = Source.parse(str(at))
        elif name == "locked":
            read[name] = _checked(name, at, bool)
        elif at is not None or name not in ("low", "high"):
            read[name] = float(_checked(name, at, (int, float)))
    return read


def _mirrored(at: Any, drivers: int) -> frozenset[int]:
    """Numbers of drivers, from a list of them, or from whether all are mirrored."""
    if isinstance(at, bool):
        return frozenset(range(1, drivers + 1)) if at else frozenset()
    return frozenset(_checked("mirrored", one, int) for one in _checked("mirrored", at, list))


def _checked(name: str, at: Any, kind: Any) -> Any:
    """The value, where it is of that kind. A truth value is no number."""
    if not isinstance(at, kind) or (kind is not bool and isinstance(at, bool)):
        raise ConfigError(f"{name} cannot be {at!r}")
    return at
