"""Engines that are built before they run: what a backend's builder is asked, and for what kind of machine.

A module of `icface/engines/` that has the function `build(request: BuildRequest) -> bytes` is such a backend. It also
has

* `PRECISIONS`: those it builds, the usual one first;
* `BUILT`: the options of its `open_engine` that need a build before (precisions, and "" where that needs one);
* `target(capabilities) -> Target`: this machine, or kinds of GPUs elsewhere where it can build for those;
* `unasked(bundle) -> str`: the precision worth building here without being asked, "" for none.

Its `open_engine` reads what was built from the EngineCache. `export/build_engine.py` does the building.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from icface.bundle import Bundle, Variant
from icface.errors import NotBuiltError

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
"""What the arithmetic of a built engine may be; sensitive parts stay in float32 in all of them."""

SMALLEST_PX: Final = 16
LARGEST_PX: Final = 2048
"""Sizes that vary (the edge family's pictures and maps) may be from the one to the other in a built engine."""

Sizes = Mapping[str, tuple[int, int, int]]
"""Smallest, usual and largest, by the names that the tensors' shapes give to sizes that vary."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a built engine runs on. Another library or another device needs another engine."""

    library: str
    """Name and version, as `TensorRT-RTX 1.7.1.116`."""
    device: str
    """Name of the GPU or the CPU; `any` where it is built ahead for a kind of GPU."""
    capability: str = ""
    """Compute capability of the GPU, as `8.6`; several as `8.6+8.9`; empty on a CPU."""

    def describe(self) -> str:
        """In a few words."""
        capability = f", SM {self.capability}" if self.capability else ""
        device = "GPUs" if self.device == "any" else self.device
        return f"{self.library} on {device}{capability}"


def _silent(done: float, what: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """One engine to build."""

    graph: bytes
    """The ONNX graph, already in the precision: nothing is left to flags."""
    step: Variant
    """The step of the bundle that it is."""
    precision: str
    sizes: Sizes
    target: Target
    timing_cache: Path | None = None
    """Where timings of kernels are kept from one build to the next; read and written where the library has them."""
    progress: Callable[[float, str], None] = field(default=_silent)
    """Told how much is done, 0 to 1, and what is being done; from the builder's thread."""


def sizes_of(step: Variant, usual_px: int) -> Sizes:
    """The range of every size that varies in a step, with `usual_px` as what is tuned for."""
    names = {size for spec in (*step.inputs, *step.outputs) for size in spec.shape if isinstance(size, str)}
    return {name: (SMALLEST_PX, usual_px, LARGEST_PX) for name in sorted(names)}


def not_built(bundle: Bundle, backend: str, precision: str, why: str) -> NotBuiltError:
    """The error for an engine that is to be built first."""
    return NotBuiltError(
        f"no {precision} engine of {backend} is built for {bundle.name} here ({why}); run "
        f"python export/build_engine.py {bundle.path} --backend {backend.replace('_', '-')} --precision {precision}"
    )
