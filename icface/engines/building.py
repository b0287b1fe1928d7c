"""Builds an engine: the graph in a precision, compared with float32, built, kept, and tried where it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from icface.bundle import Bundle
from icface.engines import backends
from icface.engines.base import Job, Progress
from icface.engines.cache import EngineCache, EngineKey
from icface.engines.opening import open_engine, worth_building
from icface.engines.parity import gate
from icface.engines.precision import graph_for
from icface.engines.samples import Samples
from icface.errors import ConfigError, EngineError, RefusedError

LOCK_TIMEOUT_S: Final = 3600.0
"""The longest time that a builder waits for another one; TensorRT's longest builds take some minutes."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """An engine that is in the cache."""

    engine: str
    """Its name, as `openvino:int8`."""
    model: str
    target: str
    """What it runs on, in words."""
    folder: str
    size_bytes: int = msgspec.field(name="bytes")
    seconds: float
    """How long it took to build; 0 where it was there."""
    parity: Mapping[str, Any] | None
    """The fields of `ParityReport`; None for float32, which the others are compared with."""
    golden_psnr_db: float | None
    ran: bool
    """Whether it was tried on this machine."""


def usual_backend(bundle: Bundle) -> str:
    """The fastest backend that this machine has."""
    portable = "openvino" if find_spec("openvino") else "onnxruntime"
    return next(iter(worth_building(bundle)), portable).partition(":")[0]


def build(job: Job, samples: Callable[[], Samples], progress: Progress = lambda done, what: None) -> Built:
    """Build an engine, unless it is there, tuned for that size.

    Args:
        job: what to build.
        samples: what a lower precision is quantised and compared on; called only where the precision needs them.
        progress: told how far the build is.

    Raises:
        ConfigError: the backend does not build that.
        BundleError: the bundle's graph cannot be read.
        EngineError: a library is missing, refuses the graph, or gives wrong frames; or there is no room.
        RefusedError: its frames are too far from those of float32.
    """
    backend = backends.building().get(job.backend)
    if backend is None:
        raise ConfigError(f"there is no engine {job.backend!r} that is built; see icface-build-engine --help")
    if job.precision not in ("", *backend.PRECISIONS):
        known = ", ".join(backend.PRECISIONS)
        raise ConfigError(f"{job.backend} does not build {job.precision}; choose from {known}")
    target = backend.target(job.capabilities)
    job = replace(job, precision=job.precision or backend.usual(job.bundle, target))
    cache, key = EngineCache(), EngineKey.of(job.bundle, job.backend, job.precision, target)
    with cache.building(key, LOCK_TIMEOUT_S):
        found = None if job.again else cache.find(key)
        if found is not None and found.refused:
            raise RefusedError(f"{found.refused} (tried before; --again tries anew)")
        if found is not None and job.bundle.size_px is None and found.facts.get("size_px") != job.size_px:
            found = None  # it is tuned for frames of another size
        facts = {**found.facts, "seconds": 0.0} if found is not None else {}
        if found is None:
            start_s = time.monotonic()
            progress(0.0, "preparing the graph")
            graph = graph_for(job.bundle, job.precision, samples)
            parity = None
            if job.precision != "fp32":
                progress(0.15, "comparing with float32")
                try:
                    parity = gate(job.bundle, graph, job.precision, samples())
                except RefusedError as error:
                    cache.store(key, b"", {"name": job.bundle.name, "refused": str(error)})
                    raise
            content = backend.build(job, graph, target, lambda done, what: progress(0.5 + 0.45 * done, what))
            facts = {
                "name": job.bundle.name,
                "size_px": job.size_px,
                "bytes": len(content),
                "seconds": time.monotonic() - start_s,
                "parity": parity and asdict(parity),
                "golden_psnr_db": parity and parity.golden_psnr_db,
            }
            cache.store(key, content, facts)
        progress(0.95, "trying")
        if not job.capabilities:
            try:
                open_engine(job.engine, job.bundle).close()
            except EngineError:
                cache.drop(key)  # it gives wrong frames
                raise
        progress(1.0, "done")
    about = {"engine": job.engine, "model": job.bundle.name, "target": target.describe()}
    where = {"folder": str(cache.folder / key.name), "ran": not job.capabilities}
    return msgspec.convert({**facts, **about, **where}, Built)
