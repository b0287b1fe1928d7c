"""Inference engines: one module each, found by its file name. A new engine is one new file.

An engine module has `open_engine(bundle, part, *, threads, option) -> Engine` and imports its library inside. It raises
EngineError where the library is missing or did not load what was asked for. Where engines are built before they run,
the module also has what `icface/building.py` describes.
"""

from __future__ import annotations

import importlib
import logging
import platform
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.bundle import Bundle, TensorSpec, Variant
from icface.errors import ConfigError, EngineError, NotBuiltError, RefusedError

logger = logging.getLogger(__name__)

Outputs = tuple[NDArray[Any], ...]
Part = Literal["animate", "neutralise", "correct"]
"""A step of a bundle; `correct` is what the host engine leaves to a graph."""

GOLDEN_PSNR_DB: Final = 45.0
"""An engine must give the golden outputs at least this well. All that work here give 50 dB or more (they round
differently); positions in half precision or a shift by a quarter of a pixel give less than 40."""
_BUILT_FIRST: Final = ("tensorrt", "tensorrt_rtx", "openvino")
"""Backends whose engines are worth building unasked, the fastest first."""
GOLDEN_SLACK_DB: Final = 3.0
"""So much less than when it was built may an engine give that was accepted with less: libraries round differently."""


class Engine(ABC):
    """Runs one step of a bundle. The thread that runs it first owns it, until `release`.

    Args:
        variant: the step that it runs.
        description: what runs, in a few words.
    """

    def __init__(self, variant: Variant, description: str) -> None:
        self.variant = variant
        self.description = description
        self.name = ""
        """What `open_engine` opens it by."""
        self.golden_psnr_db = GOLDEN_PSNR_DB
        """How well it must give the golden outputs."""
        self.unbuilt: tuple[str, ...] = ()
        """Better engines for the same model that were passed over because they are not built yet, best first."""
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
            EngineError: as `run`.
        """
        frame: Frame = self.run(motion)[0]
        return frame

    def run(self, motion: Tensors) -> Outputs:
        """All outputs, in the order that the manifest gives them; the engine's own buffers, as in `animate`.

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
        return self._compute(motion, sizes)

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
    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        """Called with tensors that fit the variant; `sizes` are what the names in their shapes stand for."""


def available() -> tuple[str, ...]:
    """Names of all engine modules."""
    others = ("__init__", "parity", "precision", "quantise", "samples")
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in others))


def open_engine(name: str, bundle: Bundle, *, threads: int = 1, part: Part = "animate") -> Engine:
    """Open an engine and verify it on the bundle's golden tensors.

    Args:
        name: `auto`, a module's name, or `module:option` (as `onnxruntime:cuda`). `auto` takes what was built for this
            machine before what is portable.
        bundle: the model.
        threads: CPU threads it may use.
        part: the step of the model that it is to run.

    Raises:
        ConfigError: no engine has that name, or no thread may be used.
        EngineError: it did not load, or gave something else than the golden outputs.
        NotBuiltError: it is to be built first.
    """
    if threads < 1:
        raise ConfigError(f"an engine needs at least 1 thread, not {threads}")
    if name != "auto":
        return _open_verified(name, bundle, threads, part)
    problems: list[str] = []
    unbuilt: list[str] = []
    for candidate in candidates(bundle, part):
        try:
            engine = _open_verified(candidate, bundle, threads, part)
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
    """Run a bundle's `neutralise` graph once, on an engine that is opened for it and closed again.

    It is as large as the graph that makes frames, and wanted once a photo: nothing is gained by keeping it, or by
    building it. So it runs in float32, where the frames come from a built engine by one of the portable ones.

    Returns:
        Its outputs by name; the caller's own.

    Raises:
        EngineError: as `open_engine` and `Engine.run`.
    """
    name = "auto" if needs_build(name) else name
    with closing(open_engine(name, bundle, threads=threads, part="neutralise")) as engine:
        engine.set_source({})
        outputs = engine.run(inputs)
        return {
            spec.name: output.copy() for spec, output in zip(engine.variant.outputs, outputs, strict=True)
        }


def candidates(bundle: Bundle, part: Part = "animate") -> tuple[str, ...]:
    """Engines worth trying on this machine, best first."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    graphs = ("openvino", "onnxruntime") if x86 else ("onnxruntime", "openvino")
    if part == "neutralise":
        return graphs
    return (*worth_building(bundle), *(("host",) if bundle.host is not None else ()), *graphs)


def needs_build(name: str) -> bool:
    """Whether an engine runs only after it was built (`export/build_engine.py`).

    Raises:
        ConfigError: no engine has that name.
    """
    if name == "auto":
        return False
    module, option = _module(name)
    return option in getattr(module, "BUILT", ())


def worth_building(bundle: Bundle) -> tuple[str, ...]:
    """Engines that make this model's frames faster here than the portable ones once they are built, best first."""
    found = []
    for backend in _BUILT_FIRST:
        precision = _module(backend)[0].unasked(bundle)
        if precision:
            found.append(f"{backend}:{precision}")
    return tuple(found)


def _module(name: str) -> tuple[Any, str]:
    """The module of an engine, and the option behind its name."""
    module, _, option = name.partition(":")
    if module not in available():
        raise ConfigError(f"there is no engine {name!r}; choose from auto, {', '.join(available())}")
    return importlib.import_module(f"icface.engines.{module}"), option


def _open_verified(name: str, bundle: Bundle, threads: int, part: Part) -> Engine:
    module, option = _module(name)
    engine: Engine = module.open_engine(bundle, part, threads=threads, option=option)
    engine.name = name
    try:
        db = golden_psnr_db(engine, bundle)
        if not db >= engine.golden_psnr_db:
            what = "frame" if part == "animate" else "neutral image"
            raise EngineError(
                f"{engine.description} gives a wrong golden {what} "
                f"({db:.1f} dB, at least {engine.golden_psnr_db:.0f} wanted); choose another engine"
            )
    except BaseException:
        engine.close()
        raise
    engine.release()
    engine.description += f", golden frame {min(db, 99.0):.0f} dB"
    return engine


def golden_psnr_db(engine: Engine, bundle: Bundle) -> float:
    """How well an engine gives the bundle's golden outputs, the worst of them; infinite when all are the same.

    Raises:
        EngineError: it fails, or gives a tensor of another shape or type.
    """
    tensors = bundle.golden_tensors()
    engine.set_source(tensors)
    outputs = engine.run(tensors)
    return min(
        _psnr_db(output, tensors[spec.name], spec.name, engine.description)
        for spec, output in zip(engine.variant.outputs, outputs, strict=True)
    )


def _psnr_db(found: NDArray[Any], expected: NDArray[Any], name: str, engine: str) -> float:
    """Against the range of pixels, or against that of the expected values where they are no pixels."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise EngineError(
            f"{engine} gives a {name} {found.shape} of {found.dtype}, not {expected.shape} of {expected.dtype}"
        )
    peak = 255.0 if expected.dtype == np.uint8 else float(np.ptp(expected)) or 1.0
    error = float(np.mean((found.astype(np.float64) - expected.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(peak**2 / error))


def graph_step(bundle: Bundle, part: Part) -> tuple[Variant, Path]:
    """The step that a graph engine is to run, and the file of its graph.

    Raises:
        EngineError: the bundle has none.
    """
    steps = {"animate": bundle.graph, "neutralise": bundle.neutralise, "correct": bundle.corrector}
    step = steps[part]
    if step is None or step.graph is None:
        raise EngineError(f"{bundle.name} has no graph for {part}")
    return step, bundle.file(step.graph)


def check_graph(step: Variant, bundle: Bundle, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Compare the names of a loaded graph's inputs and outputs with what the manifest says.

    Raises:
        EngineError: they differ, so the graph is not one of ours.
    """
    for verb, found, specs in (("asks for", inputs, step.inputs), ("gives", outputs, step.outputs)):
        expected = {spec.name for spec in specs}
        if set(found) != expected:
            raise EngineError(
                f"{step.graph} {verb} {', '.join(sorted(found)) or 'nothing'}, while the manifest of "
                f"{bundle.name} states {', '.join(sorted(expected)) or 'nothing'}; export the bundle again"
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
