"""The panel's benchmark: what it counts, and that the product never waits for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import panel
from icface.errors import DeviceError


class Clock:
    """Time that passes while somebody sleeps."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_time_is_divided_by_the_pictures_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a second, where thirty were asked for."""
    clock = Clock()
    monkeypatch.setattr(panel, "time", clock)
    monkeypatch.setattr(panel, "used_s", lambda path: clock.now_s * (0.1 if "task" in str(path) else 0.4))
    monkeypatch.setattr(panel, "sent", lambda address: (round(10 * clock.now_s), clock.now_s))
    found = panel.cost(1, "http://x/#token=y", "nobody", 5.3)
    assert found == {"all": pytest.approx(40), "loop": pytest.approx(10)}
    monkeypatch.setattr(panel, "sent", lambda address: (7, clock.now_s))
    with pytest.raises(DeviceError, match="made no picture"):
        panel.cost(1, "http://x/#token=y", "nobody", 5.0)


def says(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", f"import sys; {code}"], stderr=subprocess.PIPE, text=True)


def test_a_product_that_says_much_never_waits() -> None:
    """A pipe that nobody reads is full after some ten thousand lines."""
    with says("print('panel: http://x', file=sys.stderr); sys.stderr.write('a line\\n' * 100_000)") as run:
        assert panel.address_of(run) == "http://x"
        assert run.wait(timeout=60) == 0


def test_a_product_that_ends_early_is_one_line() -> None:
    with (
        says("print('error: no camera', file=sys.stderr)") as run,
        pytest.raises(DeviceError, match="ended before it had a panel"),
    ):
        panel.address_of(run)
