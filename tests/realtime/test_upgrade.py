"""The performer takes over a better engine between two frames."""

from __future__ import annotations

import pytest

from icface.attributes import FloatArray
from icface.errors import EngineError
from realtime.performer import Performer, make_scene
from realtime.timing import Stats
from tests.realtime.fakes import Animator, Source, smile


class Opened:
    """Stands for an engine."""

    description = "a better engine"

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Changing(Animator):
    """An animator that takes over engines, or refuses to."""

    def __init__(self, refuse: str = "") -> None:
        super().__init__()
        self.engines: list[object] = []
        self._refuse = refuse

    def adopt(self, engine: object, /) -> None:
        if self._refuse:
            raise EngineError(self._refuse)
        self.engines.append(engine)

    def animate(self, attributes: FloatArray) -> object:  # type: ignore[override]
        frame = super().animate(attributes)
        frame[:] += len(self.engines)
        return frame

    def describe(self) -> str:
        return "engine: the better one"


class Ready:
    """A background build whose engine is ready when it is asked for the second time."""

    def __init__(self, engine: Opened) -> None:
        self._looks = [None, engine]

    def take(self) -> Opened | None:
        return self._looks.pop(0) if self._looks else None


def performer(animator: Animator, engine: Opened, stats: Stats) -> Performer:
    scene = make_scene(0, Source(), "crop", None)  # type: ignore[arg-type]
    return Performer(animator, scene, stats, mark=False, upgrade=Ready(engine))  # type: ignore[arg-type]


def test_the_engine_changes_between_two_frames_and_the_statistics_say_so() -> None:
    animator, engine, stats = Changing(), Opened(), Stats()
    p = performer(animator, engine, stats)
    brightness = [int(p.perform(smile(amount))[0][0, 0, 0]) for amount in (0.1, 0.2, 0.3)]
    assert brightness == [20, 41, 61] and animator.engines == [engine] and engine.closed == 0
    assert stats.about["engine"] == "engine: the better one" and stats.events == ["engine: the better one"]


def test_an_engine_that_cannot_take_the_source_leaves_the_one_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    animator, engine, stats = Changing(refuse="no room on the GPU"), Opened(), Stats()
    p = performer(animator, engine, stats)
    brightness = [int(p.perform(smile(amount))[0][0, 0, 0]) for amount in (0.1, 0.2, 0.3)]
    assert brightness == [20, 40, 60] and engine.closed == 1 and "engine" not in stats.about
    assert "a better engine is not used: no room on the GPU" in caplog.text
