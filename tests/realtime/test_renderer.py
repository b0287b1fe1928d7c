"""From attributes to the marked picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import FloatArray, neutral
from icface.errors import EngineError
from realtime.metrics import Metrics
from realtime.renderer import Renderer, make_scene
from tests.realtime.fakes import Animator, smile, source


def renderer(metrics: Metrics | None = None) -> Renderer:
    return Renderer(
        Animator().as_reenactor(), make_scene(0, source(), "crop", None), metrics or Metrics(), mark=False
    )


def test_the_picture_is_the_animated_crop() -> None:
    r = renderer()
    picture = r.render(smile(0.5))
    assert (picture == 100).all() and picture.shape == (16, 16, 3)
    assert r.picture is picture and np.array_equal(r.attributes, smile(0.5))


def test_before_the_first_picture_there_is_a_black_neutral_one() -> None:
    r = renderer()
    assert r.picture.shape == (16, 16, 3) and not r.picture.any()
    assert np.array_equal(r.attributes, neutral())


def test_what_is_shown_already_is_not_made_again() -> None:
    metrics = Metrics()
    r = renderer(metrics)
    r.render(smile(0.5))
    assert (r.render(smile(0.5)) == 100).all()
    assert (metrics.counters["animated"], metrics.counters["held"]) == (1, 1)
    r.render(smile(0.6))
    assert (metrics.counters["animated"], metrics.counters["held"]) == (2, 1)


@pytest.mark.parametrize("framing", ["crop", "photo"])
def test_the_mark_is_in_every_picture_and_never_twice_on_one(framing: str) -> None:
    scene = make_scene(0, source(100, photo_px=(200, 200), corner_px=(90, 90)), framing, None)
    marked = Renderer(Animator(100).as_reenactor(), scene, Metrics(), mark=True)
    plain = Renderer(Animator(100).as_reenactor(), scene, Metrics(), mark=False)
    first = marked.render(smile(0.5)).copy()
    without = plain.render(smile(0.5)).copy()
    assert (first != without).any()
    marked.render(smile(0.7))
    assert np.array_equal(marked.render(smile(0.5)), first)


def test_another_source_keeps_the_pictures_size_and_is_shown_at_once() -> None:
    metrics = Metrics()
    r = renderer(metrics)
    r.render(smile(0.5))
    r.show(make_scene(1, source(32), "crop", r.size_px))
    picture = r.render(smile(0.5))
    assert metrics.counters["animated"] == 2, "the same attributes, another face"
    assert picture.shape == (16, 16, 3)
    assert r.scene.number == 1


# A better engine, taken over between two pictures


class Opened:
    """Stands for an engine."""

    description = "a better engine"

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Changing(Animator):
    """Takes over engines, or refuses to. It paints one level brighter for each."""

    def __init__(self, refuse: str = "") -> None:
        super().__init__()
        self.engines: list[object] = []
        self._refuse = refuse

    def adopt(self, engine: object, /) -> None:
        if self._refuse:
            raise EngineError(self._refuse)
        self.engines.append(engine)

    def animate(self, attributes: FloatArray) -> Frame:
        frame = super().animate(attributes)
        frame[:] += len(self.engines)
        return frame

    def describe(self) -> str:
        return "engine: the better one"


def brightness(animator: Animator, engine: Opened, metrics: Metrics) -> list[int]:
    """Of three pictures; the engine is there when the second is made."""
    looks: list[Any] = [None, engine, None]
    scene = make_scene(0, source(), "crop", None)
    r = Renderer(animator.as_reenactor(), scene, metrics, mark=False, take_engine=lambda: looks.pop(0))
    return [int(r.render(smile(amount))[0, 0, 0]) for amount in (0.1, 0.2, 0.3)]


def test_the_engine_changes_between_two_frames_and_the_metrics_say_so() -> None:
    animator, engine, metrics = Changing(), Opened(), Metrics()
    assert brightness(animator, engine, metrics) == [20, 41, 61]
    assert animator.engines == [engine] and engine.closed == 0
    assert metrics.about["engine"] == "engine: the better one" and metrics.events == [
        "engine: the better one"
    ]


def test_an_engine_that_cannot_take_the_source_leaves_the_one_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    animator, engine, metrics = Changing(refuse="no room on the GPU"), Opened(), Metrics()
    assert brightness(animator, engine, metrics) == [20, 40, 60]
    assert engine.closed == 1 and "engine" not in metrics.about
    assert "a better engine is not used: no room on the GPU" in caplog.text
