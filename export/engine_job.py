"""One engine from a bundle: its graph in the precision, compared with float32, built, kept, and tried where it runs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from icface.building import BuildRequest, sizes_of
from icface.bundle import Bundle
from icface.engine_cache import EngineCache, EngineKey
from icface.engines import available, graph_step, open_engine
from icface.engines.parity import ParityReport, gate
from icface.engines.precision import graph_for
from icface.engines.samples import Samples
from icface.errors import ConfigError, EngineError, RefusedError

LOCK_TIMEOUT_S: Final = 3600.0
"""TensorRT's longest builds take some minutes; nothing waits for ever."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be built."""

    bundle: Bundle
    backend: str
    """A module of `icface/engines/`."""
    precision: str
    capabilities: tuple[str, ...] = ()
    """Of GPUs elsewhere, as `8.6`; empty: for this machine."""
    size_px: int = 512
    """Side of the frames that a model of any size is tuned for."""
    timing_cache: Path | None = None
    again: bool = False
    """Build it although it is there."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An engine that lies in the cache."""

    job: Job
    target: str
    """What it runs on, in words."""
    folder: Path
    size_bytes: int
    seconds: float
    """What it took; 0 where it was there."""
    parity: dict[str, Any] | None
    """As `ParityReport.to_dict`; None for float32, which is what the others are compared with."""
    golden_psnr_db: float | None
    ran: bool
    """Whether it was tried on this machine."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "engine": f"{self.job.backend}:{self.job.precision}",
            "model": self.job.bundle.name,
            "target": self.target,
            "folder": str(self.folder),
            "bytes": self.size_bytes,
            "seconds": round(self.seconds, 2),
            "parity": self.parity,
            "golden_psnr_db": self.golden_psnr_db,
            "ran": self.ran,
        }


def backends() -> tuple[str, ...]:
    """Engines that are built."""
    return tuple(name for name in available() if hasattr(_module(name), "build"))


def usual_backend(bundle: Bundle) -> str:
    """The fastest that this machine has."""
    for name in ("tensorrt", "tensorrt_rtx"):
        if _module(name).unasked(bundle):
            return name
    try:
        _module("openvino").target()
    except EngineError:
        return "onnxruntime"
    return "openvino"


def usual_precision(bundle: Bundle, backend: str, capabilities: tuple[str, ...]) -> str:
    """What is built where none is asked for."""
    module = _module(backend)
    unasked: str = "" if capabilities else module.unasked(bundle)
    fallback: str = module.PRECISIONS[0] if capabilities else "fp32"
    return unasked or fallback


def build(job: Job, samples: Callable[[], Samples], progress: Progress) -> Built:
    """Build an engine, unless it is there.

    Args:
        samples: gives what the model sees, for quantising and comparing; called only where that is needed.

    Raises:
        ConfigError: the backend does not build that.
        BundleError: the bundle's graph is not one.
        EngineError: a library is missing, refuses the graph, or gives wrong frames; or there is no room.
        RefusedError: its frames are too far from those of float32.
    """
    module = _module(job.backend)
    if job.precision not in module.PRECISIONS:
        raise ConfigError(
            f"{job.backend} does not build {job.precision}; choose from {', '.join(module.PRECISIONS)}"
        )
    target = module.target(job.capabilities)
    key = EngineKey.of(job.bundle, job.backend, job.precision, target)
    cache = EngineCache()
    with cache.building(key, LOCK_TIMEOUT_S):
        found = None if job.again else cache.find(key)
        if found is not None:
            if found.refused:
                raise RefusedError(f"{found.refused} (tried before; --again tries anew)")
            facts = {**found.facts, "seconds": 0.0}
        else:
            progress(0.0, "reading")
            start_s = time.monotonic()
            graph, parity = _graph(job, samples, cache, key, progress)
            step, _ = graph_step(job.bundle, "animate")
            content = module.build(
                BuildRequest(
                    graph=graph,
                    step=step,
                    precision=job.precision,
                    sizes=sizes_of(step, job.size_px),
                    target=target,
                    timing_cache=job.timing_cache,
                    progress=lambda done, what: progress(0.5 + 0.45 * done, what),
                )
            )
            facts = {
                "name": job.bundle.name,
                "size_px": job.size_px,
                "bytes": len(content),
                "seconds": time.monotonic() - start_s,
                "parity": None if parity is None else parity.to_dict(),
                "golden_psnr_db": None if parity is None else parity.golden_psnr_db,
            }
            cache.store(key, content, facts)
        progress(0.95, "trying")
        ran = not job.capabilities
        if ran:
            _try(job, cache, key)
        progress(1.0, "done")
    return Built(
        job=job,
        target=target.describe(),
        folder=cache.folder / key.name,
        size_bytes=facts["bytes"],
        seconds=facts["seconds"],
        parity=facts.get("parity"),
        golden_psnr_db=facts.get("golden_psnr_db"),
        ran=ran,
    )


def _module(backend: str) -> ModuleType:
    if backend not in available():
        raise ConfigError(f"there is no engine {backend!r}; choose from {', '.join(available())}")
    return importlib.import_module(f"icface.engines.{backend}")


def _graph(
    job: Job, samples: Callable[[], Samples], cache: EngineCache, key: EngineKey, progress: Progress
) -> tuple[bytes, ParityReport | None]:
    """The graph in the precision, and how it compares with float32."""
    progress(0.05, "converting")
    graph = graph_for(job.bundle, job.precision, samples)
    if job.precision == "fp32":
        return graph, None
    progress(0.15, "preparing photos")
    seen = samples()
    progress(0.25, "comparing with float32")
    try:
        parity = gate(job.bundle, graph, job.precision, seen)
    except RefusedError as error:
        cache.store(key, b"", {"name": job.bundle.name, "refused": str(error)})
        raise
    return graph, parity


def _try(job: Job, cache: EngineCache, key: EngineKey) -> None:
    """Open the engine as `icface-live` will; one that gives wrong frames goes again."""
    try:
        with closing(open_engine(f"{job.backend}:{job.precision}", job.bundle)):
            pass
    except EngineError:
        cache.drop(key)
        raise
