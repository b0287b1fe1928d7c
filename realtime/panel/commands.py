"""What a page may ask: one class a command, its fields checked as they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from icface.control import presets
from icface.control.source import Source
from icface.errors import ConfigError, ICFaceError
from realtime import cameras

if TYPE_CHECKING:
    from realtime.panel.desk import ControlDesk
    from realtime.step import Reenactment

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class Command(msgspec.Struct, tag_field="does", forbid_unknown_fields=True):
    """Base of all; `perform` runs on the desk's thread and gives an answer for JSON."""

    def perform(self, desk: ControlDesk) -> Any:
        raise NotImplementedError


class Changes(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Fields of a channel that change; see `icface.control.state.Channel`. No limit is None."""

    source: Annotated[str, msgspec.Meta(max_length=120)] | msgspec.UnsetType = msgspec.UNSET
    gain: float | msgspec.UnsetType = msgspec.UNSET
    offset: float | msgspec.UnsetType = msgspec.UNSET
    low: float | msgspec.UnsetType | None = msgspec.UNSET
    high: float | msgspec.UnsetType | None = msgspec.UNSET
    locked: bool | msgspec.UnsetType = msgspec.UNSET
    smoothing_s: float | msgspec.UnsetType = msgspec.UNSET


class Change(Command, tag="change"):
    """Change channels of attributes or groups."""

    names: Annotated[list[Name], msgspec.Meta(min_length=1, max_length=60)]
    changes: Changes

    def perform(self, desk: ControlDesk) -> None:
        changes: dict[str, Any] = msgspec.structs.asdict(self.changes)
        changes = {name: value for name, value in changes.items() if value is not msgspec.UNSET}
        if "source" in changes:
            changes["source"] = source = Source.parse(changes["source"])
            if source.kind == "track":
                desk.play_beside(source.name)
        desk.control.change(lambda state: state.with_channels(*self.names, **changes))


class Reset(Command, tag="reset"):
    """Everything as the run began."""

    def perform(self, desk: ControlDesk) -> None:
        desk.control.change(lambda state: replace(desk.control.start, mirrored=state.mirrored))


class LoadPreset(Command, tag="load_preset"):
    """Take a preset over."""

    name: Name

    def perform(self, desk: ControlDesk) -> None:
        control = desk.control
        state = presets.load(self.name, replace(control.start, mirrored=control.state.mirrored))
        for name in set(state.tracks) & set(desk.tracks.names()):  # others are files, which control reads
            desk.play_beside(name)
        control.change(lambda _: state)


class SavePreset(Command, tag="save_preset"):
    """Keep the present state as a preset."""

    name: Name

    def perform(self, desk: ControlDesk) -> str:
        presets.save(self.name, desk.control.state)
        return self.name


class Mirror(Command, tag="mirror"):
    """Show a driver, counted from 1, as in a mirror, or not; without a number all."""

    on: bool
    driver: int | None = None

    def perform(self, desk: ControlDesk) -> None:
        desk.control.mirror(self.on, self.driver)


class Freeze(Command, tag="freeze"):
    """Hold the picture, or go on."""

    on: bool

    def perform(self, desk: ControlDesk) -> None:
        def freeze(reenactment: Reenactment) -> None:
            reenactment.frozen = self.on

        desk.control.ask(freeze)


class Neutral(Command, tag="neutral"):
    """Take the driver's face as it is now as neutral."""

    def perform(self, desk: ControlDesk) -> None:
        if not desk.crew.is_tracked:
            raise ConfigError("no tracker runs, so there is no face to take as neutral")
        desk.crew.ask_neutral()


class Cameras(Command, tag="cameras"):
    """Gives the machine's cameras, each as {number, name, note}."""

    def perform(self, desk: ControlDesk) -> Any:
        return [{"number": one.number, "name": one.name, "note": one.note} for one in cameras.list_cameras()]


class Join(Command, tag="join"):
    """Let a camera of the machine drive; gives its number among the drivers."""

    camera: Annotated[int, msgspec.Meta(ge=0, le=999)]

    def perform(self, desk: ControlDesk) -> int:
        return desk.crew.join(str(self.camera))


class Leave(Command, tag="leave"):
    """Let a driver go, counted from 1."""

    driver: int

    def perform(self, desk: ControlDesk) -> None:
        desk.crew.leave(self.driver)


class Show(Command, tag="show"):
    """Show a photo, counted from 0."""

    number: int

    def perform(self, desk: ControlDesk) -> None:
        scene = desk.photos.ready(self.number)
        if scene is None:
            why = desk.photos.problem(self.number) or "it is not prepared yet"
            raise ICFaceError(f"photo {self.number + 1} cannot be shown: {why}")
        desk.control.ask(lambda reenactment: reenactment.renderer.show(scene))


class Record(Command, tag="record"):
    """Begin to record a video and its track."""

    def perform(self, desk: ControlDesk) -> None:
        desk.recordings.begin()


class StopRecording(Command, tag="stop_recording"):
    """End the recording; gives the name of its track."""

    def perform(self, desk: ControlDesk) -> str:
        return desk.stop_recording()


class PlayTrack(Command, tag="play_track"):
    """Let a track drive everything, from its beginning."""

    name: Name
    playing: bool

    def perform(self, desk: ControlDesk) -> None:
        desk.play(self.name, playing=self.playing)


class LeaveTrack(Command, tag="leave_track"):
    """Let those drive who did before the track."""

    def perform(self, desk: ControlDesk) -> None:
        desk.leave()


class Pause(Command, tag="pause"):
    """Hold the track where it is, or go on."""

    paused: bool

    def perform(self, desk: ControlDesk) -> None:
        if desk.player is not None:
            desk.player.play(not self.paused)


class Seek(Command, tag="seek"):
    """Move in the track."""

    name: Name
    position_s: float

    def perform(self, desk: ControlDesk) -> None:
        if desk.playing != self.name:
            desk.play(self.name, playing=False)
        if desk.player is not None:
            desk.player.seek(self.position_s)


class Loop(Command, tag="loop"):
    """Repeat a part of the track that plays; both None: all of it."""

    from_s: float | None = None
    to_s: float | None = None

    def perform(self, desk: ControlDesk) -> None:
        if desk.player is not None:
            desk.player.loop(self.from_s, self.to_s)


class EditTrack(Command, tag="edit_track"):
    """Replace values of an attribute from a row on. The file stays as it is until it is saved."""

    name: Name
    attribute: Name
    start: int
    values: list[float]

    def perform(self, desk: ControlDesk) -> None:
        desk.edited(self.name, desk.tracks.edit(self.name, self.attribute, self.start, self.values))


class SaveTrack(Command, tag="save_track"):
    """Write an edited track as a new one; gives its name."""

    name: Name

    def perform(self, desk: ControlDesk) -> str:
        return desk.save_track(self.name)


class RenderTrack(Command, tag="render"):
    """Make a video of a track with the photo that is shown; gives the track's name, which is new where it was edited."""

    name: Name

    def perform(self, desk: ControlDesk) -> str:
        return desk.render(self.name)


AnyCommand = (
    Change | Reset | LoadPreset | SavePreset | Mirror | Freeze | Neutral | Cameras | Join | Leave | Show | Record
    | StopRecording | PlayTrack | LeaveTrack | Pause | Seek | Loop | EditTrack | SaveTrack | RenderTrack
)  # fmt: skip


def read(plain: Any) -> Command:
    """A command from JSON's values; raises ConfigError where it is none."""
    try:
        command: Command = msgspec.convert(plain, AnyCommand)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the page asked for something that is not understood: {error}") from error
    return command
