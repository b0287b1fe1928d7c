"""Builds an engine: the graph in a precision, compared with float32, built, kept, and tried where it runs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from icface.bundle import Bundle, Variant
from icface.engines import backends
from icface.engines.base import BuildingBackend, BuildRequest
from icface.engines.cache import EngineCache, EngineKey
from icface.engines.opening import open_engine
from icface.engines.parity import gate
from icface.engines.precision import graph_for
from icface.engines.samples import Samples, collect
from icface.errors import ConfigError, EngineError, RefusedError

LOCK_TIMEOUT_S: Final = 3600.0
"""The longest time that a builder waits for another one; TensorRT's longest builds take some minutes."""
SMALLEST_PX: Final = 16
LARGEST_PX: Final = 2048
"""Sizes that vary (pictures and maps of the edge family) lie between these in a built engine."""

Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what is being done."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An engine that is to be built."""

    bundle: Bundle
    backend: str
    precision: str = ""
    """Empty for what suits the machine."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities of GPUs elsewhere, as `8.6`; empty for this machine."""
    size_px: int = 512
    """Side of the frames that a model of any size is tuned for."""
    timing_cache: Path | None = None
    """Where TensorRT keeps the timings of kernels; None keeps them beside the engines."""
    again: bool = False
    """Build it although it is there, or was refused."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An engine that is in the cache."""

    engine: str
    """Its name, as `openvino:int8`."""
    model: str
    target: str
    """What it runs on, in words."""
    folder: Path
    size_bytes: int
    seconds: float
    """How long it took to build; 0 where it was there."""
    parity: Mapping[str, Any] | None
    """As `ParityReport.to_dict`; None for float32, which the others are compared with."""
    golden_psnr_db: float | None
    ran: bool
    """Whether it was tried on this machine."""

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        fields = dict(vars(self)) | {"folder": str(self.folder), "seconds": round(self.seconds, 2)}
        fields["bytes"] = fields.pop("size_bytes")
        return fields


def usual_backend(bundle: Bundle) -> str:
    """The fastest backend that this machine has."""
    building = backends.building()
    for name in ("tensorrt", "tensorrt_rtx"):
        if building[name].unasked(bundle):
            return name
    try:
        building["openvino"].target()
    except EngineError:
        return "onnxruntime"
    return "openvino"


def sampler(bundle: Bundle, photos: Sequence[Path], attributes: Path | None = None) -> Callable[[], Samples]:
    """Photos moved by attributes, for quantising and comparing. They are prepared when they are first asked for, once.

    Args:
        bundle: the model that they are for.
        photos: files; none takes the example's.
        attributes: a CSV of them; None takes the one that comes along.
    """
    return functools.cache(lambda: collect(bundle, photos, attributes))


def build(job: Job, samples: Callable[[], Samples], progress: Progress) -> Built:
    """Build an engine, unless it is there.

    Args:
        job: what to build.
        samples: as `sampler` gives it; called only where a precision needs them.
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
        raise ConfigError(
            f"{job.backend} does not build {job.precision}; choose from {', '.join(backend.PRECISIONS)}"
        )
    target = backend.target(job.capabilities)
    job = replace(job, precision=job.precision or backend.usual(job.bundle, target))
    cache, key = EngineCache(), EngineKey.of(job.bundle, job.backend, job.precision, target)
    with cache.building(key, LOCK_TIMEOUT_S):
        found = None if job.again else cache.find(key)
        if found is None:
            facts = _build_and_store(job, backend, samples, cache, key, progress)
        elif found.refused:
            raise RefusedError(f"{found.refused} (tried before; --again tries anew)")
        else:
            facts = {**found.facts, "seconds": 0.0}
        progress(0.95, "trying")
        if not job.capabilities:
            _try(job, cache, key)
        progress(1.0, "done")
    return Built(
        engine=f"{job.backend}:{job.precision}",
        model=job.bundle.name,
        target=target.describe(),
        folder=cache.folder / key.name,
        size_bytes=facts["bytes"],
        seconds=facts["seconds"],
        parity=facts.get("parity"),
        golden_psnr_db=facts.get("golden_psnr_db"),
        ran=not job.capabilities,
    )


def _build_and_store(
    job: Job,
    backend: BuildingBackend,
    samples: Callable[[], Samples],
    cache: EngineCache,
    key: EngineKey,
    progress: Progress,
) -> dict[str, Any]:
    """Build an engine and store it, or that it was refused; return its facts."""
    start_s = time.monotonic()
    parity = None
    progress(0.0, "preparing the graph")
    graph = graph_for(job.bundle, job.precision, samples)
    if job.precision != "fp32":
        progress(0.15, "comparing with float32")
        try:
            parity = gate(job.bundle, graph, job.precision, samples())
        except RefusedError as error:
            cache.store(key, b"", {"name": job.bundle.name, "refused": str(error)})
            raise
    request = BuildRequest(
        graph=graph,
        variant=job.bundle.graph,
        precision=job.precision,
        sizes=sizes_of(job.bundle.graph, job.size_px),
        target=key.target,
        timing_cache=job.timing_cache or cache.folder / f"{job.backend}.timing",
        progress=lambda done, what: progress(0.5 + 0.45 * done, what),
    )
    content = backend.build(request)
    facts = {
        "name": job.bundle.name,
        "size_px": job.size_px,
        "bytes": len(content),
        "seconds": time.monotonic() - start_s,
        "parity": None if parity is None else parity.to_dict(),
        "golden_psnr_db": None if parity is None else parity.golden_psnr_db,
    }
    cache.store(key, content, facts)
    return facts


def sizes_of(variant: Variant, usual_px: int) -> dict[str, tuple[int, int, int]]:
    """Smallest, usual and largest of every size that varies in a variant, by its name."""
    names = {
        size for spec in (*variant.inputs, *variant.outputs) for size in spec.shape if isinstance(size, str)
    }
    return {name: (SMALLEST_PX, usual_px, LARGEST_PX) for name in sorted(names)}


def _try(job: Job, cache: EngineCache, key: EngineKey) -> None:
    """Open the engine as `icface-live` will, and remove one that gives wrong frames."""
    try:
        with closing(open_engine(f"{job.backend}:{job.precision}", job.bundle)):
            pass
    except EngineError:
        cache.drop(key)
        raise
