"""Builds an engine in another process: beside a live loop, or before a run from file to file.

A crash of a library, Python's lock and the memory that a build takes stay in that process. It reads the order from its
standard input, as a line of JSON, and writes one line to its standard output: what went wrong, or nothing. The standard
input stays open as long as the parent lives; when it closes, the builder ends. The builder imports nothing from the
folder in which the user started the parent.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from icface.bundle import Bundle
from icface.engines.base import Engine, Job
from icface.engines.opening import open_engine
from icface.errors import EngineError, ICFaceError

logger = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""How often it is checked whether the builder has ended, or has to."""
JOIN_S: Final = 5.0
TIMEOUT_S: Final = 3600.0
"""No build takes longer; TensorRT's longest take some minutes."""

_BUILDER: Final = """
import sys
if sys.argv[1] not in sys.path:
    sys.path.insert(0, sys.argv[1])
from icface.engines.background import serve
serve()
"""


@dataclass(frozen=True, kw_only=True)
class Order:
    """An engine that another process is to build."""

    bundle: Path
    engine: str
    """Its name, as `tensorrt:fp16`."""
    photos: tuple[Path, ...] = ()
    """The photos that a lower precision is calibrated and compared on."""
    size_px: int | None = None
    """Side of the frames that a model of any size is tuned for; None takes the usual one."""
    keys: tuple[Path, ...] | None = None
    """One of these has to have signed the bundle; None: it needs no signature."""
    beside: bool = False
    """Whether a live loop runs meanwhile, so that the build has to use only what is left of the machine."""


class BackgroundBuild:
    """Builds an engine and opens it, on a thread. `start`, `take` and `close` are called from another one."""

    def __init__(self, order: Order, threads: int = 1) -> None:
        self._order = order
        self._threads = threads
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="building an engine", daemon=True)
        self._ready: Engine | None = None
        self.ended = threading.Event()
        """Set when nothing is left to do, whether there is an engine or not."""

    def start(self) -> None:
        """Begin to build."""
        engine = self._order.engine
        logger.info("the engine %s is built in the background; another one runs until it is ready", engine)
        self._thread.start()

    def take(self) -> Engine | None:
        """The engine, once, when it is ready. The caller owns it then. Never waits."""
        engine, self._ready = self._ready, None
        return engine

    def close(self) -> None:
        """End a build that still runs, and close an engine that nobody took."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if (engine := self.take()) is not None:
            engine.close()

    def _run(self) -> None:
        order = self._order
        try:
            run_builder(order, self._stop)
            self._ready = open_engine(
                order.engine, Bundle.load(order.bundle, order.keys), threads=self._threads
            )
        except ICFaceError as error:
            if not self._stop.is_set():
                logger.warning("the engine %s is not used: %s", order.engine, error)
        finally:
            self.ended.set()


def run_builder(order: Order, stop: threading.Event, timeout_s: float = TIMEOUT_S) -> None:
    """Have another process build an engine, and wait for it until `stop` is set.

    Raises:
        EngineError: the build failed, was ended, took longer than `timeout_s`, or the process died.
    """
    with tempfile.TemporaryFile() as chatter:
        try:
            process = subprocess.Popen(
                builder_command(),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=chatter,
                # The terminal's Ctrl-C does not reach it. The parent ends it.
                process_group=0 if os.name == "posix" else None,
                creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0) if order.beside else 0,
            )
        except OSError as error:
            raise EngineError(f"the builder cannot be started ({error.strerror or error})") from error
        with process:  # closes its pipes
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(OSError):  # it is dead already
                process.stdin.write(msgspec.json.encode(order, enc_hook=str) + b"\n")
            waited_s = 0.0
            while process.poll() is None and waited_s < timeout_s and not stop.wait(POLL_S):
                waited_s += POLL_S
            if process.poll() is None:
                process.kill()
                late = f"the builder did not end within {timeout_s:.0f} s"
                raise EngineError("stopped while the engine was being built" if stop.is_set() else late)
            answer = process.stdout.read().decode()
        if not answer:
            chatter.seek(0)
            said = chatter.read().decode(errors="replace").strip()
            logger.debug("the builder's last words: %s", said)
            last = f": {said.splitlines()[-1]}" if said else ""
            raise EngineError(f"the builder died (code {process.returncode}){last}")
    if problem := answer.removesuffix("\n"):
        raise EngineError(problem)


def builder_command() -> list[str]:
    """The command of a builder process. It finds `icface` where this process found it, and nowhere else."""
    root = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-P", "-c", _BUILDER, root]


# In the builder


def serve(build: Callable[[Order], None] | None = None) -> None:
    """Build what the parent orders, answer, and end. Tests replace `build`."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no part of the answer
        with open(0, "rb", buffering=0, closefd=False) as parent:
            order = msgspec.json.decode(parent.readline(), type=Order, dec_hook=lambda kind, text: kind(text))
        threading.Thread(target=_end_with_parent, daemon=True).start()
        problem = ""
        try:
            (build or build_ordered)(order)
        except ICFaceError as error:
            problem = str(error)
        print(problem, file=answer)


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent's end of the pipe is closed
    os._exit(1)


def build_ordered(order: Order) -> None:
    """Build an engine in this process, at the lowest priority where a live loop runs beside it."""
    if order.beside:
        step_back()
    # Imported here, because they load packages that a live loop does not need.
    from icface.engines.building import build
    from icface.engines.samples import collect

    bundle = Bundle.load(order.bundle, order.keys)
    backend, _, precision = order.engine.partition(":")
    job = Job(bundle=bundle, backend=backend, precision=precision, size_px=order.size_px or Job.size_px)
    build(job, functools.cache(lambda: collect(bundle, order.photos)))


def step_back() -> None:
    """Give everything else on this machine the right of way.

    The lowest nice value is not enough. Beside a generator on two cores it still doubled the loop's p99 latency, because
    a busy core is taken away late. Linux' idle policy gives it back at once. The build uses one core alone.
    """
    if hasattr(os, "nice"):
        os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # forbidden in some containers
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
