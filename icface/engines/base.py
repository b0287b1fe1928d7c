"""What an engine is, what a backend is, and what they check.

A backend is one file of `icface/engines/backends/`, found by its name. It follows the protocol `Backend`, or
`BuildingBackend` where its engines are built before they run. It imports its library inside its functions.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame, Tensors
from icface.bundle import GEOMETRY, Bundle
from icface.errors import EngineError
from icface.quality import psnr_db
from icface.variants import TensorSpec, Variant

Outputs = tuple[NDArray[Any], ...]
Step = Literal["animate", "neutralise", "correct"]
"""What a bundle does: it makes a photo neutral, makes a frame, or says how to correct one that the host has made."""

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
"""The arithmetic that an engine may be built for."""
GOLDEN_PSNR_DB: Final = 45.0
"""An engine must give the golden outputs at least this well. Correct engines give 50 dB or more, because they only
round differently. Positions in half precision, or a shift by a quarter of a pixel, give less than 40."""
ANY: Final = "any"
"""The device of a target that is built ahead, for GPUs of a kind."""
SMALLEST_PX: Final = 16
LARGEST_PX: Final = 2048
"""Sizes that vary (pictures and maps of the edge family) lie between these in a built engine."""
LAYERS: Final = {"skin": 1.5}
"""Cache tensors that are larger than the frame by this factor, because they have a margin."""
Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what is being done."""


class Engine(ABC):
    """Runs one step of a bundle. The thread that runs it first owns it, until `release`."""

    def __init__(self, variant: Variant, description: str) -> None:
        self.variant = variant
        self.description = description
        self.name = ""
        """The name that `open_engine` opened it by."""
        self.golden_psnr_db = GOLDEN_PSNR_DB
        """How well it must give the golden outputs."""
        self.unbuilt: tuple[str, ...] = ()
        """Better engines for the same model that are not built yet, best first."""
        self.geometry_alone = False
        """It makes frames without the network that the bundle has."""
        self._owner: int | None = None
        self._has_source = False
        self._source_sizes: dict[str, int] = {}

    def set_source(self, cache: Tensors) -> None:
        """Keep a source's tensors; EngineError where they do not fit, or another thread owns the engine."""
        self._check_owner()
        self._source_sizes = check_tensors(self.variant.cache, cache, {})
        self._has_source = False  # until all of it is kept
        self._keep_source({spec.name: np.asarray(cache[spec.name], order="C") for spec in self.variant.cache})
        self._has_source = True

    def animate(self, motion: Tensors) -> Frame:
        """Make one frame from the tensors that change from frame to frame.

        Returns:
            (H, W, 3) RGB, the engine's own buffer: valid until the next call.
        """
        frame: Frame = self.run(motion)[0]
        return frame

    def run(self, motion: Tensors) -> Outputs:
        """Make all outputs, in the manifest's order, in the engine's own buffers as in `animate`.

        Raises:
            EngineError: no source is set, another thread owns the engine, or the library fails.
        """
        self._check_owner()
        self._owner = threading.get_ident()
        if not self._has_source:
            raise EngineError("no source is set; call set_source first")
        # Some backends read beyond a tensor that is too small. This check costs less than 10 µs.
        sizes = check_tensors(self.variant.motion, motion, self._source_sizes)
        return self._compute(motion, sizes)

    def release(self) -> None:
        """Forget the source and the owner, so that another thread may take over."""
        self._owner = None
        self._has_source = False

    def close(self) -> None:
        """Free everything. The engine cannot be used any more."""
        self.release()

    def _check_owner(self) -> None:
        # In other products, buffers shared between threads have shown frames of the wrong face.
        if self._owner not in (None, threading.get_ident()):
            raise EngineError("an engine was used from two threads; open one for each")

    @abstractmethod
    def _keep_source(self, cache: Tensors) -> None:
        """Keep the variant's cache tensors. They are contiguous, and there are no others."""

    @abstractmethod
    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        """Make the outputs from tensors that fit the variant; `sizes` gives the sizes that its shapes name."""


class Backend(Protocol):
    """A module of `icface/engines/backends/`. Its functions raise EngineError where the library or device fails."""

    def open_engine(self, bundle: Bundle, step: Step, *, threads: int, option: str) -> Engine:
        """Open an engine; `option` is what follows the colon in its name. NotBuiltError: it has to be built first."""


class BuildingBackend(Backend, Protocol):
    """A backend whose engines are built before they run."""

    PRECISIONS: tuple[str, ...]
    """What it builds, the usual one first."""
    BUILT: tuple[str, ...]
    """The options of `open_engine` that need a build: precisions, and "" where that needs one."""

    def target(self, capabilities: Sequence[str] = ()) -> Target:
        """This machine; or, where the library can build for them, GPUs elsewhere by their compute capabilities."""

    def usual(self, bundle: Bundle, target: Target) -> str:
        """The precision for a target when nobody names one."""

    def unasked(self, bundle: Bundle) -> str:
        """The precision that is worth building here without being asked; "" for none."""

    def build(self, job: Job, graph: bytes, target: Target, progress: Progress) -> bytes:
        """Build an engine from an ONNX graph, and return it serialised. `job.precision` is set.

        The graph's types say the precision of everything; only bf16 is a setting of OpenVINO.
        """


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a built engine runs on. Another library or another device needs another engine."""

    library: str
    """Name and version, as `TensorRT-RTX 1.7.1.116`."""
    device: str
    """Name of the GPU or the CPU; ANY for GPUs of a kind."""
    capability: str = ""
    """Compute capability of the GPU, as `8.6`; several as `8.6+8.9`; empty on a CPU."""

    def describe(self) -> str:
        """Describe it in a few words."""
        capability = f", SM {self.capability}" if self.capability else ""
        device = "GPUs" if self.device == ANY else self.device
        return f"{self.library} on {device}{capability}"


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

    @property
    def engine(self) -> str:
        """Its name, as `openvino:int8`."""
        return f"{self.backend}:{self.precision}".removesuffix(":")


def graph_variant(bundle: Bundle, step: Step) -> tuple[Variant, Path]:
    """Find the variant that a graph engine runs, and the file of its graph; EngineError where the bundle has none."""
    variant = {"animate": bundle.graph, "neutralise": bundle.neutralise, "correct": bundle.correct}[step]
    if variant is None or variant.graph is None:
        raise EngineError(f"{bundle.name} has no graph for {step}")
    return variant, bundle.file(variant.graph)


def golden_psnr_db(engine: Engine, bundle: Bundle) -> float:
    """How well an engine gives the bundle's golden outputs: the worst of them; infinite when all are the same."""
    tensors = bundle.golden_tensors()
    engine.set_source(tensors)
    values = []
    if engine.geometry_alone:
        tensors = {**tensors, "gates": np.zeros_like(tensors["gates"]), "frame": tensors[GEOMETRY]}
    for spec, found in zip(engine.variant.outputs, engine.run(tensors), strict=True):
        expected = tensors[spec.name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            wrong = f"{found.shape} of {found.dtype}, not {expected.shape} of {expected.dtype}"
            raise EngineError(f"{engine.description} gives a {spec.name} {wrong}")
        peak = 255.0 if expected.dtype == np.uint8 else float(np.ptp(expected)) or 1.0
        values.append(psnr_db(found, expected, peak))
    return min(values)


def check_graph(variant: Variant, bundle: Bundle, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Compare the names of a loaded graph's inputs and outputs with the manifest; EngineError where they differ."""
    for verb, found, specs in (("asks for", inputs, variant.inputs), ("gives", outputs, variant.outputs)):
        expected = {spec.name for spec in specs}
        if set(found) != expected:
            raise EngineError(
                f"{variant.graph} {verb} {', '.join(sorted(found)) or 'nothing'}, while the manifest of "
                f"{bundle.name} states {', '.join(sorted(expected)) or 'nothing'}; export the bundle again"
            )


def check_tensors(specs: Sequence[TensorSpec], tensors: Tensors, known: Mapping[str, int]) -> dict[str, int]:
    """The sizes that names in shapes stand for; EngineError where a tensor is missing or does not fit.

    `known` are sizes that other tensors have fixed already.
    """
    sizes = dict(known)
    for spec in specs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            raise EngineError(f"the tensor {spec.name} is missing; prepare the photo again")
        fits = tensor.dtype == spec.dtype and tensor.ndim == len(spec.shape)
        for wanted, found in zip(spec.shape, tensor.shape, strict=False):
            expected = wanted if isinstance(wanted, int) else sizes.setdefault(wanted, found)
            fits = fits and found == expected
        if not fits:
            named = {size: f"{size}={found}" for size, found in sizes.items()}
            shape = ", ".join(named.get(str(size), str(size)) for size in spec.shape)
            raise EngineError(
                f"the tensor {spec.name} is {tensor.shape} of {tensor.dtype}, while the model takes "
                f"({shape}) of {spec.dtype}; prepare the photo again"
            )
    return sizes
