"""Workers: they begin as they are told, and none outlives the main process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from training.processes import worker_pool

MAIN = """\
import os, sys, time
from pathlib import Path
from training.processes import worker_pool

def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)

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
    said = tmp_path / "pid"
    main = subprocess.Popen([sys.executable, tmp_path / "main.py", said])
    try:
        _wait(lambda: said.exists() and said.read_text() != "")
        worker = psutil.Process(int(said.read_text()))
        assert worker.is_running()
    finally:
        main.kill()
        main.wait()
    _wait(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def _wait(happened: object, seconds: float = 60) -> None:
    assert callable(happened)
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)
