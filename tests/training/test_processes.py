"""Workers: they begin as they are told, and none outlives the main process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from training.pairs.processes import worker_pool

MAIN = """\
import sys, time
from pathlib import Path
from training.pairs.processes import worker_pool

def work(path):
    while True:
        with Path(path).open("ab") as file:
            file.write(b".")
        time.sleep(0.05)

if __name__ == "__main__":
    worker_pool(1).submit(work, sys.argv[1]).result()
"""
_told: list[int] = []


def tell(number: int) -> None:
    _told.append(number)


def told(_: int) -> list[int]:
    return _told


def test_each_worker_begins_as_it_is_told() -> None:
    with worker_pool(2, tell, 7) as pool:
        assert list(pool.map(told, range(4))) == [[7]] * 4


def test_a_worker_ends_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN, encoding="utf-8")
    beats = tmp_path / "beats"
    main = subprocess.Popen([sys.executable, tmp_path / "main.py", beats])
    try:
        _wait(beats.exists)
    finally:
        main.kill()
        main.wait()
    _wait(lambda: _rests(beats))


def _rests(beats: Path) -> bool:
    before = beats.stat().st_size
    time.sleep(1)
    return beats.stat().st_size == before


def _wait(happened: object, seconds: float = 60) -> None:
    assert callable(happened)
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
