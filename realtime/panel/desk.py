"""What the pages see of the run and can do with it. One thread calls everything, so that commands come one by one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from icface.attributes import ALL_NAMES, LOWEST, MEANING, SIDE_NAMES, AttributeTrack, neutral
from icface.control import presets
from icface.control import source as sources
from icface.control.groups import CONTROL_GROUPS
from icface.control.state import ControlState
from realtime import version
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.drivers.crew import Crew
from realtime.drivers.table import load_table
from realtime.metrics import Metrics
from realtime.panel import commands
from realtime.panel.jobs import Jobs, same_picture
from realtime.panel.player import Player
from realtime.panel.tracks import LONGEST_STEM, Tracks, free, write_track
from realtime.photos import Photos
from realtime.recording import FINISH_TIMEOUT_S, Recordings
from realtime.renderer import Scene
from realtime.step import Reenactment

logger = logging.getLogger(__name__)

_GROUPS: Final = {
    **{name: CONTROL_GROUPS[name] for name in ("pose", "gaze", "brows", "eyes", "nose", "mouth", "place")},
    "sides": SIDE_NAMES,
}


@dataclass
class ControlDesk:
    """Answers the pages. Reads what the loop owns, and changes it by `control.ask` alone."""

    config: LiveConfig
    reenactment: Reenactment
    photos: Photos[Scene]
    recordings: Recordings
    crew: Crew
    fps: Fraction
    """That the pictures are meant to have."""
    face: int | None = None
    """Which of a photo's faces is shown; None: the largest."""
    jobs: Jobs = field(default_factory=Jobs)
    tracks: Tracks = field(init=False)
    playing: str = ""
    """The track that drives everything; empty: none."""
    player: Player | None = None
    """Plays that track."""
    ended_call: int = 0
    """Number of the newest WebRTC call that is over."""
    _before: ControlState | None = None
    """What drove before the track."""
    _stages: dict[str, tuple[int, float]] = field(default_factory=dict)
    _speed: dict[str, Any] = field(default_factory=dict)
    _measured_s: float = 0.0

    def __post_init__(self) -> None:
        self.tracks = Tracks(self.recordings.folder)

    @property
    def control(self) -> Control:
        return self.reenactment.control

    @property
    def metrics(self) -> Metrics:
        return self.reenactment.metrics

    def perform(self, command: Any) -> Any:
        """Do what a page asked; raises ICFaceError."""
        return commands.read(command).perform(self)

    # What the pages are told

    def hello(self) -> dict[str, Any]:
        """Everything that never changes."""
        rest = neutral()
        return {
            "is": "hello",
            "version": version(),
            "attributes": [
                {"name": name, "low": float(low), "rest": float(at), "meaning": _meaning(name)}
                for name, low, at in zip(ALL_NAMES, LOWEST, rest, strict=True)
            ],
            "groups": _GROUPS,
            "webrtc": self.config.panel_webrtc is not None,
        }

    def news(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """Messages about what is other than `told` says; `told` is brought up to date."""
        fresh = [message for message in self._all() if told.get(message["is"]) != message]
        told.update({message["is"]: message for message in fresh})
        return fresh

    def _all(self) -> Iterable[dict[str, Any]]:
        names, state, player = self.tracks.names(), self.control.state, self.player
        yield {
            "is": "state",
            "channels": {name: plain(channel) for name, channel in state.named().items()},
            "drivers": list(self.crew.named()),
            "tracks": names,
        }
        recording = self.recordings.current
        yield {
            "is": "run",
            "mirrored": sorted(state.mirrored),
            "frozen": self.reenactment.frozen,
            "tracked": self.crew.is_tracked,
            "recording": None
            if recording is None
            else {"name": recording.path.stem, "seconds": int(time.monotonic() - recording.began_s)},
        }
        yield {
            "is": "photos",
            "photos": [self._photo(number) for number in range(len(self.photos.paths))],
            "shown": self.reenactment.renderer.scene.number,
        }
        yield {
            "is": "drivers",
            "drivers": [
                {
                    "number": number,
                    "name": member.given.label,
                    "kind": member.given.kind,
                    "aspect": member.driver.aspect,
                    "mirrored": number in state.mirrored,
                    "ended": self.crew.has_ended(number),
                }
                for number, member in self.crew.named().items()
            ],
        }
        yield {"is": "presets", "presets": list(presets.names())}
        yield {"is": "tracks", "tracks": names}
        yield {
            "is": "player",
            "track": self.playing,
            "playing": player is not None and player.playing,
            "loop_s": player.loop_s if player is not None else None,
            "position_s": round(player.position_s, 3) if player is not None else 0.0,
        }
        yield {"is": "call", "ended": self.ended_call}
        yield {"is": "jobs", "jobs": self.jobs.listed()}
        yield self._measure()

    def _photo(self, number: int) -> dict[str, Any]:
        problem = self.photos.problem(number)
        state = "failed" if problem else "preparing" if self.photos.ready(number) is None else "ready"
        return {"number": number, "name": self.photos.paths[number].name, "state": state, "note": problem}

    def _measure(self) -> dict[str, Any]:
        """Means since the last time, at most ten times a second, whatever number of pages asks."""
        now_s = time.monotonic()
        if now_s - self._measured_s < 0.1 and self._speed:
            return self._speed
        self._measured_s = now_s
        means: dict[str, float] = {}
        for name, stage in self.metrics.stages.items():
            count, total_s = stage.count, stage.total_s
            before_count, before_s = self._stages.get(name, (0, 0.0))
            self._stages[name] = count, total_s
            if count > before_count:
                means[name] = round(1e3 * (total_s - before_s) / (count - before_count), 2)
        counters = self.metrics.counters
        self._speed = {
            "is": "speed",
            "fps": 1e3 / means["interval"] if means.get("interval") else 0.0,
            "budget_ms": 1e3 / float(self.fps),
            "latency_ms": means.get("latency"),
            "stages_ms": means,
            "dropped": counters["dropped_before_tracking"] + counters["dropped_before_animation"],
            "sent": counters["sent"],
            "engine": str(self.metrics.about.get("engine", "")).removeprefix("engine: "),
            "mark": self.config.mark,
            "level": self.metrics.level,
        }
        return self._speed

    def stop_recording(self) -> str:
        """End the recording and wait for its files; gives its track's name. Raises ICFaceError where it was lost."""
        recording = self.recordings.end()
        recording.finished.wait(FINISH_TIMEOUT_S)
        if recording.error is not None:
            raise recording.error
        return recording.path.stem

    # Tracks

    def play(self, name: str, *, playing: bool) -> None:
        """Let a track drive everything."""
        player = Player(self.tracks.get(name), playing=playing)
        if not self.playing:
            self._before = self.control.state
        self._let_go()
        self.control.tracks[name] = player
        self.player, self.playing = player, name
        source = sources.track(name)
        self.control.change(
            lambda state: ControlState.default(state.drivers, mirrored=state.mirrored).with_channels(
                "all", source=source
            )
        )

    def leave(self) -> None:
        """Let those drive who did before the track; the photo in the place of a driver that has left since."""
        before, self._before = self._before, None
        if before is not None:
            for number, member in enumerate(self.crew.members, start=1):
                if member is None:
                    before = before.with_source_replaced(sources.driver(number), sources.photo)
            drove = before
            self.control.change(lambda now: replace(drove, drivers=now.drivers, mirrored=now.mirrored))
        self._let_go()
        self.playing, self.player = "", None

    def _let_go(self) -> None:
        """The track that drove everything is a source like others from now on: all of it, on and on."""
        if self.player is not None:
            self.player.loop(None, None)
            self.player.play()

    def play_beside(self, name: str) -> None:
        """Have a track ready as a source of single attributes, on and on."""
        if name not in self.control.tracks:
            self.control.tracks[name] = Player(self.tracks.get(name))

    def edited(self, name: str, track: AttributeTrack) -> None:
        """Show the edited track where it drives."""
        player = self.control.tracks.get(name)
        if isinstance(player, Player):
            player.edit(track)

    def save_track(self, name: str) -> str:
        """Write an edited track as a new one and go on with that."""
        saved = self.tracks.save(name)
        if saved != name and self.playing == name and self.player is not None:
            position_s, playing = self.player.position_s, self.player.playing
            self.play(saved, playing=playing)
            self.player.seek(position_s)
        return saved

    def render(self, name: str) -> str:
        """Make a video of a track, beside it in the folder."""
        saved = self.save_track(name)
        path = self.tracks.path(saved)
        photo = self.photos.paths[self.reenactment.renderer.scene.number]
        self.jobs.start(
            free(path.with_name(f"{saved} rendered.mp4")),
            "--output",
            ["--source", photo, "--driver", path, *same_picture(self.config, self.face)],
            # Signed here: a process that reads others' files is not given the key.
            finish=lambda made: self.recordings.provenance.sign(made, made.suffix),
        )
        return saved

    def take_driver(self, path: Path) -> str:
        """Let a video, a photo or a table drive; gives what the user is told."""
        return f"{path.name} is driver {self.crew.join(str(path))} now"

    def take_track(self, path: Path) -> str:
        """Make a track of a table or a video; gives what the user is told. Tracks that are there stay."""
        made = free(self.tracks.path(path.stem[:LONGEST_STEM].rstrip(" .")), self.jobs.running())
        self.tracks.forget(made.stem)
        if path.suffix == ".csv":
            write_track(made, load_table(path))
            return f"{made.stem} is a track now"
        photo = self.photos.paths[0]
        self.jobs.start(
            made,
            "--record-attributes",
            ["--source", photo, "--driver", path, "--null", "--no-pace", "--quality", "fast", "--no-build"],
        )
        return f"{path.name} is being read; it becomes the track {made.stem}"

    def close(self) -> None:
        """End what still renders."""
        self.jobs.close()


def _meaning(name: str) -> str:
    """An attribute in plain words."""
    whole = name.removesuffix("_side")
    return MEANING[name] if name in MEANING else f"{MEANING[whole]}: left against right"


def plain(channel: Any) -> dict[str, Any]:
    """A channel for the page."""
    return {
        "source": str(channel.source),
        "gain": channel.gain,
        "offset": channel.offset,
        "low": channel.low,
        "high": channel.high,
        "locked": channel.locked,
        "smoothing_s": channel.smoothing_s,
    }
