"""Several sinks as one."""

from __future__ import annotations

import logging
from fractions import Fraction

import pytest

from icface.errors import DeviceError
from realtime.metrics import Metrics
from realtime.outputs import Outputs
from realtime.sinks import TICK_S, Sink
from tests.realtime.fakes import KeepingSink, frame


def opened(*sinks: Sink) -> tuple[Outputs, Metrics]:
    metrics = Metrics()
    outputs = Outputs(sinks, metrics)
    outputs.open(6, 4, Fraction(30))
    return outputs, metrics


def test_every_sink_gets_every_frame() -> None:
    a, b = KeepingSink("a"), KeepingSink("b")
    outputs, _ = opened(a, b)
    outputs.send(frame(5), 1.5)
    outputs.close()
    assert a.sent == b.sent == [(5, 0, 1.5)]
    assert a.opened == (6, 4, Fraction(30))
    assert a.closed and b.closed


def test_a_lost_sink_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    a, b = KeepingSink("a", fail_at=1), KeepingSink("b")
    outputs, metrics = opened(a, b)
    with caplog.at_level(logging.WARNING, logger="realtime"):
        for i in range(3):
            outputs.send(frame(i), 0.0)
    assert a.closed and [index for _, index, _ in b.sent] == [0, 1, 2]
    assert "a is gone; going on with: b" in caplog.text
    assert metrics.counters["sinks_lost"] == 1
    assert outputs.lost == ["a is gone"]


def test_the_last_sink_lost_is_an_error() -> None:
    a = KeepingSink("a", fail_at=0)
    outputs, _ = opened(a)
    with pytest.raises(DeviceError, match="a is gone"):
        outputs.send(frame(), 0.0)
    assert a.closed


def test_a_sink_that_does_not_open_undoes_the_others() -> None:
    class Missing(KeepingSink):
        def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
            raise DeviceError("no virtual camera")

    a, b = KeepingSink("a"), Missing("b")
    outputs = Outputs([a, b], Metrics())
    with pytest.raises(DeviceError, match="no virtual camera"):
        outputs.open(6, 4, Fraction(30))
    assert a.closed and b.closed


def test_all_are_closed_even_if_one_fails_to_and_that_is_told() -> None:
    class Full(KeepingSink):
        def close(self) -> None:
            super().close()
            raise DeviceError("no space left")

    a, b, c = KeepingSink("a"), Full("b"), KeepingSink("c")
    outputs, _ = opened(a, b, c)
    with pytest.raises(DeviceError, match="no space left"):
        outputs.close()
    assert a.closed and b.closed and c.closed
    outputs.close()


def test_keys_come_from_any_window() -> None:
    outputs, _ = opened(KeepingSink("a"), KeepingSink("b", keys=["n"]))
    assert outputs.poll_key() == "n"
    assert outputs.poll_key() is None


def test_a_closed_window_is_let_go_and_as_the_last_sink_ends_the_run() -> None:
    window, file = KeepingSink("window", keys=["closed"]), KeepingSink("file")
    outputs, metrics = opened(window, file)
    assert outputs.poll_key() is None
    assert window.closed and not file.closed
    assert metrics.counters["sinks_lost"] == 0, "the user wanted it"
    outputs, _ = opened(KeepingSink("window", keys=["closed"]))
    assert outputs.poll_key() == "q"


def test_a_sink_comes_and_goes_while_the_others_stay() -> None:
    a, guest = KeepingSink("a"), KeepingSink("guest")
    outputs, _ = opened(a)
    outputs.send(frame(1), 0.0)
    outputs.add(guest)
    outputs.send(frame(2), 0.1)
    outputs.remove(guest)
    outputs.remove(guest)
    outputs.send(frame(3), 0.2)
    assert [value for value, _, _ in a.sent] == [1, 2, 3]
    assert [value for value, _, _ in guest.sent] == [2]
    assert not guest.closed, "who added it closes it"
    outputs.close()
    assert a.closed and guest.closed, "or the end of the run"
