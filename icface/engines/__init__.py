"""Inference engines: one module each, found by its file name. A new engine is one new file.

An engine module has `open_engine(bundle, *, threads, option) -> Engine` and imports its library inside. It raises
EngineError where the library is missing or did not load what was asked for.
"""

from __future__ import annotations

import importlib
import logging
import platform
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from icface.bundle import Bundle
from icface.errors import ConfigError, EngineError

logger = logging.getLogger(__name__)

Tensors = Mapping[str, NDArray[np.generic]]
Frame = NDArray[np.uint8]

GOLDEN_PSNR_DB: Final = 45.0
"""An engine must give the golden frame at least this well: cv2.remap rounds positions to 1/32 pixel, half
precision rounds colours; anything worse is wrong."""


class Engine(Protocol):
    """Runs one bundle's frames. The thread that animates first owns it."""

    description: str
    """What runs, in a few words."""

    def set_source(self, cache: Tensors) -> None:
        """Keep a source's tensors; they stay until the next call."""
        ...

    def animate(self, motion: Tensors) -> Frame:
        """(H, W, 3) RGB, valid until the next call."""
        ...

    def close(self) -> None: ...


class Owner:
    """Holds an engine to one thread: shared buffers gave wrong-face frames in other products."""

    def __init__(self) -> None:
        self._thread: int | None = None

    def check(self) -> None:
        current = threading.get_ident()
        if self._thread is None:
            self._thread = current
        elif self._thread != current:
            raise EngineError("an engine was used from two threads; open one for each")


def available() -> tuple[str, ...]:
    """Names of all engine modules."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


def open_engine(name: str, bundle: Bundle, *, threads: int = 1) -> Engine:
    """Open and verify an engine.

    Args:
        name: `auto`, a module's name, or `module:option` (as `onnxruntime:cuda`).
        bundle: the model.
        threads: CPU threads it may use.

    Raises:
        ConfigError: no engine has that name.
        EngineError: it did not load, or the golden frame came out wrong.
    """
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
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
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
    except Exception:
        engine.close()
        raise
    if not db >= GOLDEN_PSNR_DB:
        engine.close()
        raise EngineError(
            f"{engine.description} gives a wrong golden frame ({db:.1f} dB, at least {GOLDEN_PSNR_DB:.0f} wanted)"
        )
    engine.description += f", golden frame {min(db, 99.0):.0f} dB"
    return engine


def golden_psnr_db(engine: Engine, bundle: Bundle) -> float:
    """How well an engine gives the bundle's golden frame; infinite when it is the same."""
    tensors = bundle.golden_tensors()
    owner = getattr(engine, "owner", None)
    engine.set_source(tensors)
    frame = engine.animate(tensors)
    if isinstance(owner, Owner):
        owner.__init__()  # type: ignore[misc]  # the check ran here; whoever animates next owns it
    expected = tensors["frame"].astype(np.float64)
    if frame.shape != expected.shape:
        raise EngineError(f"{engine.description} gives a frame of shape {frame.shape}, not {expected.shape}")
    error = float(np.mean((frame.astype(np.float64) - expected) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
