"""Opens engines: the one that was asked for, or the best that works here. Each is checked on the golden outputs."""

from __future__ import annotations

import logging
import platform
from contextlib import closing
from typing import Any, Final

from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.bundle import Bundle
from icface.engines import backends
from icface.engines.base import Engine, Step, golden_psnr_db
from icface.errors import ConfigError, EngineError, NotBuiltError, RefusedError

logger = logging.getLogger(__name__)

_BUILT_FIRST: Final = ("tensorrt", "tensorrt_rtx", "openvino")
"""Backends whose engines are worth building unasked, the fastest first."""


def open_engine(name: str, bundle: Bundle, *, threads: int = 1, step: Step = "animate") -> Engine:
    """Open an engine and check it on the bundle's golden outputs.

    Args:
        name: `auto`, a backend's name, or `backend:option` (as `onnxruntime:cuda`). `auto` prefers what was built for
            this machine to what is portable.
        bundle: the model.
        threads: CPU threads it may use.
        step: what it is to do.

    Raises:
        ConfigError: no engine has that name, or `threads` is less than 1.
        EngineError: it did not load, or does not give the golden outputs. NotBuiltError: it has to be built first.
    """
    if threads < 1:
        raise ConfigError(f"an engine needs at least 1 thread, not {threads}")
    if name != "auto":
        return _open_checked(name, bundle, threads, step)
    problems: list[str] = []
    unbuilt: list[str] = []
    for candidate in candidates(bundle, step):
        try:
            engine = _open_checked(candidate, bundle, threads, step)
            engine.unbuilt = tuple(unbuilt)
            return engine
        except NotBuiltError:
            unbuilt.append(candidate)
        except RefusedError as error:
            logger.debug("engine %s is not used: %s", candidate, error)
        except EngineError as error:
            logger.warning("engine %s is not used: %s", candidate, error)
            problems.append(f"{candidate}: {error}")
    raise EngineError("no engine works here: " + "; ".join(problems))


def neutralise(name: str, bundle: Bundle, inputs: Tensors, *, threads: int = 1) -> dict[str, NDArray[Any]]:
    """Run a bundle's `neutralise` graph, and return its outputs by name; the caller's own.

    It runs once a photo, so a built engine would gain nothing. Where `name` is a built engine, or none that runs graphs,
    a portable one runs it in float32.
    """
    name = "auto" if name == "host" or needs_build(name) else name
    with closing(open_engine(name, bundle, threads=threads, step="neutralise")) as engine:
        engine.set_source({})
        outputs = engine.run(inputs)
        names = (spec.name for spec in engine.variant.outputs)
        return {name: output.copy() for name, output in zip(names, outputs, strict=True)}


class HostFrames:
    """Frames by a bundle's host variant, of one cache after the other. It is opened at the first frame."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self._bundle, self._threads = bundle, threads
        self._engine: Engine | None = None

    def __call__(self, cache: Tensors, motion: Tensors) -> Frame:
        """A frame (H, W, 3), the caller's own."""
        if self._engine is None:
            self._engine = open_engine("host", self._bundle, threads=self._threads)
        self._engine.set_source(cache)
        return self._engine.animate(motion).copy()

    @property
    def geometry_alone(self) -> bool:
        """Whether frames were made without the network that the bundle has."""
        return self._engine is not None and self._engine.geometry_alone

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()


def candidates(bundle: Bundle, step: Step = "animate") -> tuple[str, ...]:
    """Engines worth trying on this machine, best first."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    graphs = ("openvino", "onnxruntime") if x86 else ("onnxruntime", "openvino")
    host = ("host",) if bundle.host is not None else ()
    return graphs if step == "neutralise" else (*worth_building(bundle), *host, *graphs)


def needs_build(name: str) -> bool:
    """Whether an engine runs only after it was built; ConfigError where no engine has that name."""
    backend, _, option = name.partition(":")
    return name != "auto" and option in getattr(backends.load(backend), "BUILT", ())


def worth_building(bundle: Bundle) -> tuple[str, ...]:
    """Engines that make this model's frames faster here than the portable ones, once they are built; best first."""
    building = backends.building()
    unasked = {name: building[name].unasked(bundle) for name in _BUILT_FIRST}
    return tuple(f"{name}:{precision}" for name, precision in unasked.items() if precision)


def _open_checked(name: str, bundle: Bundle, threads: int, step: Step) -> Engine:
    backend, _, option = name.partition(":")
    engine = backends.load(backend).open_engine(bundle, step, threads=threads, option=option)
    engine.name = name
    try:
        db = golden_psnr_db(engine, bundle)
        if not db >= engine.golden_psnr_db:
            what = "frame" if step == "animate" else "neutral image"
            how = f"({db:.1f} dB, at least {engine.golden_psnr_db:.0f} wanted); choose another engine"
            raise EngineError(f"{engine.description} gives a wrong golden {what} {how}")
    except BaseException:
        engine.close()
        raise
    engine.release()
    engine.description += f", golden frame {min(db, 99.0):.0f} dB"
    return engine
