"""What an open panel costs: the product's CPU time a picture, with and without a page that looks.

    python benchmarks/panel.py --seconds 5 --rounds 5 --json panel.json

One run of the product plays the clip at 30 FPS. A page comes and goes, round by round: nobody, a page that is hidden
(news alone), and a page that shows every picture. The page is a program that answers as a browser does and draws
nothing, so the figures are the product's own. `loop` is the thread that makes the pictures, `all` the whole process.
Linux only: it reads /proc.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
import re
import statistics
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from benchmarks.common import REPOSITORY, benchmark_parser, check_counts, write_figures
from icface.command import Parser, run_command
from icface.errors import DeviceError

PAGES = ("nobody", "hidden", "shown")


def used_s(path: Path) -> float:
    """CPU time of a process or a thread so far."""
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_page(address: str) -> ClientConnection:
    """Be a page; close it after use."""
    base, _, token = address.partition("/#token=")
    return connect(
        base.replace("http", "ws") + "/stream",
        subprotocols=[Subprotocol("icface"), Subprotocol(token)],
        origin=Origin(base),
        compression=None,
        proxy=None,
    )


def sent(address: str) -> tuple[int, float]:
    """How many pictures the product has sent by its own count, and when that was."""
    with open_page(address) as socket:
        for message in socket:
            if isinstance(message, str) and (told := json.loads(message))["is"] == "speed":
                return told["sent"], time.monotonic()
    raise DeviceError("the product ended")


def look(address: str, page: str, stop: threading.Event) -> None:
    """Look until told to stop."""
    with open_page(address) as socket:
        while not stop.is_set():
            try:
                message = socket.recv(0.1)
            except TimeoutError:
                continue
            except ConnectionClosed:
                return
            if isinstance(message, bytes) and page == "shown":
                head = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                socket.send(json.dumps({"seen": head["serial"]}))


def cost(process: int, address: str, page: str, seconds: float) -> dict[str, float]:
    """Milliseconds of CPU time a picture."""
    first, first_s = sent(address)
    stop = threading.Event()
    looking = threading.Thread(target=look, args=(address, page, stop))
    if page != "nobody":
        looking.start()
    time.sleep(0.5)  # the page gets everything once
    whole, loop = Path(f"/proc/{process}/stat"), Path(f"/proc/{process}/task/{process}/stat")
    before = used_s(whole), used_s(loop), time.monotonic()
    time.sleep(seconds)
    after = used_s(whole), used_s(loop), time.monotonic()
    stop.set()
    if page != "nobody":
        looking.join()
    time.sleep(0.2)  # the product keeps its count for a tenth of a second
    last, last_s = sent(address)
    if last == first:
        raise DeviceError("the product made no picture; run it by hand to see why")
    pictures = (last - first) / (last_s - first_s) * (after[2] - before[2])
    return {"all": 1e3 * (after[0] - before[0]) / pictures, "loop": 1e3 * (after[1] - before[1]) / pictures}


def address_of(run: subprocess.Popen[str]) -> str:
    """Where the product says that its panel is. All else that it says is read and forgotten, so that it never waits."""
    assert run.stderr is not None
    address = next((found[1] for line in run.stderr if (found := re.search(r"panel: (\S+)", line))), None)
    if address is None:
        raise DeviceError("the product ended before it had a panel")
    threading.Thread(target=forget, args=(run.stderr,), daemon=True).start()
    return address


def forget(said: IO[str]) -> None:
    """Read what is said to its end, or until somebody closes it."""
    with suppress(ValueError):
        deque(said, 0)


def arguments() -> Parser:
    parser = benchmark_parser(__doc__, "json", "source", "clip", "engine", "size", rounds=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each leg (default: %(default)s)")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    check_counts(flags)
    command = [
        *(sys.executable, "-c", "import sys; from realtime.cli import main; sys.exit(main())"),
        *("--source", flags.source, "--driver", flags.clip, "--loop", "--panel", "--no-build"),
        *("--engine", flags.engine, "--size", flags.size),
    ]
    run = subprocess.Popen(
        command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    legs: dict[str, list[dict[str, float]]] = {page: [] for page in PAGES}
    try:
        address = address_of(run)
        for _ in range(flags.rounds):
            for page in PAGES:
                legs[page].append(cost(run.pid, address, page, flags.seconds))
    finally:
        run.terminate()
        run.wait()
    figures = {page: summary(measured, legs["nobody"]) for page, measured in legs.items()}
    for page, figure in figures.items():
        print(f"{page:<8}", ", ".join(f"{name} {value:g}" for name, value in figure.items()))
    write_figures(flags.json, {"panel": figures})


def summary(measured: list[dict[str, float]], nobody: list[dict[str, float]]) -> dict[str, float]:
    """Medians, and those of the ratios to the leg of the same round without a page."""
    figure = {}
    for name in ("loop", "all"):
        pairs = [(one[name], none[name]) for one, none in zip(measured, nobody, strict=True)]
        figure[f"{name}_ms"] = round(statistics.median(one for one, _ in pairs), 2)
        figure[f"{name}_ratio"] = round(statistics.median(one / none for one, none in pairs), 3)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
