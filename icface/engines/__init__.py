"""Inference engines: one module each, found by its file name. A new engine is one new file.

An engine module has `open_engine(bundle, *, threads, option) -> Engine` and imports its library inside. It raises
EngineError where the library is missing or did not load what was asked for.
"""

from __future__ import annotations

import importlib
import logging
import platform
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.bundle import Bundle, TensorSpec, Variant
from icface.errors import ConfigError, EngineError

logger = logging.getLogger(__name__)

Tensors = Mapping[str, NDArray[np.generic]]
Frame = NDArray[np.uint8]

GOLDEN_PSNR_DB: Final = 45.0
"""An engine must give the golden frame at least this well. All that work here give 50 dB or more (they round
differently); positions in half precision or a shift by a quarter of a pixel give less than 40."""


class Engine(ABC):
    """Runs one bundle's frames. The thread that animates first owns it, until `release`.

    Args:
        variant: the part of the bundle that it runs.
        description: what runs, in a few words.
    """

    def __init__(self, variant: Variant, description: str) -> None:
        self.variant = variant
        self.description = description
        self._owner: int | None = None
        self._has_source = False

    def set_source(self, cache: Tensors) -> None:
        """Keep a source's tensors; they stay until the next call.

        Raises:
            EngineError: they do not fit the bundle, or another thread owns the engine.
        """
        if self._owner is not None:
            self._check_owner()
        check_tensors(self.variant.cache, cache)
        self._keep_source({spec.name: np.asarray(cache[spec.name], order="C") for spec in self.variant.cache})
        self._has_source = True

    def animate(self, motion: Tensors) -> Frame:
        """One frame.

        Args:
            motion: the tensors that change from frame to frame.

        Returns:
            (H, W, 3) RGB, the engine's own buffer: valid until the next call.

        Raises:
            EngineError: no source is set, another thread owns the engine, or the library fails.
        """
        if self._owner is None:
            self._owner = threading.get_ident()
        self._check_owner()
        if not self._has_source:
            raise EngineError("no source is set; call set_source first")
        # Some backends read beyond a tensor that is too small. This costs less than 10 µs.
        sizes = check_tensors(self.variant.motion, motion)
        return self._make_frame(motion, sizes)

    def release(self) -> None:
        """Forget the source and the owner: another thread may take over."""
        self._owner = None
        self._has_source = False

    def close(self) -> None:
        """Let go of everything; the engine cannot be used any more."""
        self.release()

    def _check_owner(self) -> None:
        # Buffers shared between threads have given other products frames of the wrong face.
        if self._owner != threading.get_ident():
            raise EngineError("an engine was used from two threads; open one for each")

    @abstractmethod
    def _keep_source(self, cache: Tensors) -> None:
        """Called with the variant's cache tensors alone, contiguous."""

    @abstractmethod
    def _make_frame(self, motion: Tensors, sizes: Mapping[str, int]) -> Frame:
        """Called with tensors that fit the variant; `sizes` are what the names in their shapes stand for."""


def available() -> tuple[str, ...]:
    """Names of all engine modules."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


def open_engine(name: str, bundle: Bundle, *, threads: int = 1) -> Engine:
    """Open an engine and verify it on the bundle's golden frame.

    Args:
        name: `auto`, a module's name, or `module:option` (as `onnxruntime:cuda`).
        bundle: the model.
        threads: CPU threads it may use.

    Raises:
        ConfigError: no engine has that name, or no thread may be used.
        EngineError: it did not load, or the golden frame came out wrong.
    """
    if threads < 1:
        raise ConfigError(f"an engine needs at least 1 thread, not {threads}")
    if name != "auto":
        return _open_verified(name, bundle, threads)
    problems = []
    for candidate in candidates(bundle):
        try:
            return _open_verified(candidate, bundle, threads)
        except EngineError as error:
            logger.warning("engine %s is not used: %s", candidate, error)
            problems.append(f"{candidate}: {error}")
    raise EngineError("no engine works here: " + "; ".join(problems))


def candidates(bundle: Bundle) -> tuple[str, ...]:
    """Engines worth trying on this machine, best first."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    graphs = ("openvino", "onnxruntime") if x86 else ("onnxruntime", "openvino")
    on_host = bundle.host is not None and bundle.host.graph is None
    return ("host", *graphs) if on_host else graphs


def _open_verified(name: str, bundle: Bundle, threads: int) -> Engine:
    module, _, option = name.partition(":")
    if module not in available():
        raise ConfigError(f"there is no engine {name!r}; choose from auto, {', '.join(available())}")
    engine: Engine = importlib.import_module(f"icface.engines.{module}").open_engine(
        bundle, threads=threads, option=option
    )
    try:
        db = golden_psnr_db(engine, bundle)
        if not db >= GOLDEN_PSNR_DB:
            raise EngineError(
                f"{engine.description} gives a wrong golden frame "
                f"({db:.1f} dB, at least {GOLDEN_PSNR_DB:.0f} wanted); choose another engine"
            )
    except BaseException:
        engine.close()
        raise
    engine.release()
    engine.description += f", golden frame {min(db, 99.0):.0f} dB"
    return engine


def golden_psnr_db(engine: Engine, bundle: Bundle) -> float:
    """How well an engine gives the bundle's golden frame; infinite when it is the same.

    Raises:
        EngineError: it fails, or gives a frame of another shape or type.
    """
    tensors = bundle.golden_tensors()
    engine.set_source(tensors)
    frame = engine.animate(tensors)
    expected = tensors["frame"]
    if frame.shape != expected.shape or frame.dtype != expected.dtype:
        raise EngineError(
            f"{engine.description} gives a frame {frame.shape} of {frame.dtype}, "
            f"not {expected.shape} of {expected.dtype}"
        )
    error = float(np.mean((frame.astype(np.float64) - expected.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def check_graph_inputs(bundle: Bundle, names: Sequence[str]) -> None:
    """Compare what a loaded graph asks for with what the manifest says.

    Raises:
        EngineError: they differ, so the graph is not one of ours.
    """
    expected = {spec.name for spec in bundle.graph.inputs}
    if set(names) != expected:
        raise EngineError(
            f"{bundle.graph.graph} asks for {', '.join(sorted(names)) or 'nothing'}, "
            f"while the manifest of {bundle.name} states {', '.join(sorted(expected))}; export the bundle again"
        )


def check_tensors(specs: Sequence[TensorSpec], tensors: Tensors) -> dict[str, int]:
    """Compare tensors with their specs.

    Returns:
        What the names in the shapes stand for.

    Raises:
        EngineError: one is missing, of another type, or of a shape that does not fit the others.
    """
    sizes: dict[str, int] = {}
    for spec in specs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            raise EngineError(f"the tensor {spec.name} is missing; prepare the photo again")
        fits = tensor.dtype == spec.dtype and tensor.ndim == len(spec.shape)
        for wanted, found in zip(spec.shape, tensor.shape, strict=False):
            expected = wanted if isinstance(wanted, int) else sizes.setdefault(wanted, found)
            fits = fits and found == expected
        if not fits:
            shape = ", ".join(
                f"{size}={sizes[size]}" if isinstance(size, str) and size in sizes else str(size)
                for size in spec.shape
            )
            raise EngineError(
                f"the tensor {spec.name} is {tensor.shape} of {tensor.dtype}, while the model takes "
                f"({shape}) of {spec.dtype}; prepare the photo again"
            )
    return sizes
