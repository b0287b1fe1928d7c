"""The mixer's benchmark: it fails above its budget."""

from __future__ import annotations

import pytest

from benchmarks import mixer


@pytest.mark.parametrize(("slowest_ms", "code"), [(0.029, 0), (0.031, 1)])
def test_it_fails_above_its_budget(
    slowest_ms: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {"one driver": [[0.005] * 3], "everything": [[slowest_ms] * 3]}
    monkeypatch.setattr(mixer, "take_turns", lambda *_, **__: times)
    assert mixer.main([]) == code
    assert capsys.readouterr().err == ("more than 30 µs a frame: everything\n" if code else "")
