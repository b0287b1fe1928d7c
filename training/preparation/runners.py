"""Runs the work on many clips at once by Ray, on the cores of this machine or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import socket
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import icface
import training
from icface.errors import ConfigError
from training.preparation.clips import Clip
from training.preparation.work import Outcome

MAX_BLOCKS: Final = 2000
"""Ray keeps a record of each block. With fewer clips than that, each clip is a block."""
OBJECT_STORE_BYTES: Final = 100 * 2**20
"""Only names pass through it."""
CONNECT_TIMEOUT_S: Final = 5.0
RAY_WORDS: Final = ("auto", "local")
"""Addresses in Ray's own words: the cluster that this machine belongs to, and a new one."""


def run_on_ray(
    make: Callable[[Clip], Outcome], clips: Sequence[Clip], *, workers: int | None, address: str | None
) -> Generator[Outcome]:
    """Many clips at once, in any order. They are tasks, not actors: Ray repeats a task whose process died.

    Args:
        make: the work on a clip; it travels to each process.
        workers: processes at a time, each on one core; None: as many as there are cores.
        address: of a running cluster, as `auto` or `ray://host:10001`; None starts Ray on this machine alone.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at that address.
    """

    def prepare(row: dict[str, Any]) -> dict[str, Any]:  # Ray names tasks by it
        return make(pickle.loads(row["clip"]))._asdict()

    ray = _start_ray(workers, address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # A process elsewhere has another working folder.
        absolute = [
            replace(clip, path=clip.path.resolve(), csv=clip.csv.resolve() if clip.csv else None)
            for clip in clips
        ]
        rows = ray.data.from_items(
            [{"clip": pickle.dumps(clip)} for clip in absolute],
            override_num_blocks=min(len(clips), MAX_BLOCKS),
        )
        done = rows.map(prepare, num_cpus=1, compute=ray.data.TaskPoolStrategy(size=workers))
        try:
            for row in done.iter_rows():
                yield Outcome(**row)
        except ray.exceptions.RayError as error:
            # The first line says what; the rest is Ray's own traceback.
            yield Outcome("", fatal=f"Ray stopped: {str(error).splitlines()[0]}")
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Where nothing listens at an address, Ray would try for minutes. This raises ConfigError at once."""
    if address in RAY_WORDS:
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"--ray-address {address}: {' or '.join(RAY_WORDS)}, HOST:PORT or ray://HOST:PORT is needed"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or error
        raise ConfigError(
            f"--ray-address {address}: nothing listens there ({reason}, waited at most {CONNECT_TIMEOUT_S:g} s); start "
            "the cluster with `ray start --head` and give the address that it tells, or leave the flag out"
        ) from error


def _start_ray(workers: int | None, address: str | None) -> Any:
    # Read when Ray is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's own default from some version on; it warns until then.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    packages = [Path(str(package.__file__)).parent for package in (icface, training)]
    if address is None:
        # Ray listens on all interfaces, and who connects can run code. Only we know the token.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        options: dict[str, Any] = {
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(str(p.parent) for p in packages)}},
        }
    else:
        _check_reachable(address)
        options = {"address": address, "runtime_env": {"py_modules": [str(package) for package in packages]}}
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            f"Ray is not installed ({error}); pip install '.[train]' in the checkout, or use --workers 0"
        ) from error
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"--ray-address {address}" if address else "Ray does not start on this machine"
        raise ConfigError(f"{where}: {error}; --workers 0 prepares without Ray") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
