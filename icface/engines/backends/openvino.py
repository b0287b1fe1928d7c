"""OpenVINO: the engine for graphs on x86 CPUs.

`openvino:bf16` and `openvino:int8` take half and a third of the time. They are built before they run: building means
that the frames were compared with those of float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from icface.arrays import Tensors
from icface.bundle import Bundle
from icface.cpu import cpu_name
from icface.engines.base import Engine, Job, Outputs, Progress, Step, Target, check_graph, graph_variant
from icface.engines.cache import find_built
from icface.errors import EngineError
from icface.openvino_core import the_core
from icface.variants import Variant

# OpenVINO's binding raises its own errors as RuntimeError, and the others for tensors that do not fit.
_ERRORS: Final = (RuntimeError, TypeError, ValueError)

PRECISIONS: Final = ("bf16", "int8", "fp32")
BUILT: Final = PRECISIONS

_HINTS: Final = {"": "f32", "cpu": "f32", "fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""OpenVINO's inference precision by option. Without it, a CPU that has bfloat16 would use it, also for pixel positions.
In int8 the graph says what is int8, and the rest is float32."""


class OpenVinoEngine(Engine):
    """Runs a graph of the bundle."""

    def __init__(self, variant: Variant, request: Any, description: str) -> None:
        super().__init__(variant, description)
        self._request = request
        self._feeds: Any = {}

    def _keep_source(self, cache: Tensors) -> None:
        self._feeds = dict(cache)

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        for spec in self.variant.motion:
            self._feeds[spec.name] = motion[spec.name]
        try:
            # Inputs are read in place. Outputs are OpenVINO's own buffers, overwritten by the next run.
            self._request.infer(self._feeds, share_inputs=True, share_outputs=True)
        except _ERRORS as error:
            raise EngineError(f"{self.description} failed: {error}") from error
        return tuple(self._request.get_tensor(spec.name).data for spec in self.variant.outputs)

    def close(self) -> None:
        super().close()
        self._request, self._feeds = None, {}


def target(capabilities: Sequence[str] = ()) -> Target:
    """This CPU."""
    if capabilities:
        raise EngineError("OpenVINO builds for this CPU alone; leave out --sm")
    return Target(library=f"OpenVINO {_version()}", device=cpu_name())


def usual(bundle: Bundle, target: Target) -> str:
    """bfloat16 where it is worth building, else float32."""
    return unasked(bundle) or "fp32"


def unasked(bundle: Bundle) -> str:
    """bfloat16, where the CPU computes in it and no host code makes the frames."""
    try:
        return "bf16" if bundle.host is None and _has_bf16() else ""
    except EngineError:
        return ""


def build(job: Job, graph: bytes, target: Target, progress: Progress) -> bytes:
    """Compile the graph and return it: compiling takes a fifth of a second, so nothing more is kept."""
    compiled(graph, job.bundle.graph.graph or "the graph", threads=1, option=job.precision)
    return graph


def open_engine(bundle: Bundle, step: Step, *, threads: int, option: str) -> OpenVinoEngine:
    """Compile the graph for the CPU. With a precision it has to be built first."""
    if option not in _HINTS:
        raise EngineError(f"the OpenVINO engine has no option {option!r}; choose from cpu, bf16, int8")
    variant, path = graph_variant(bundle, step)
    if step == "neutralise":
        option = ""
    # A correction is no position, so bfloat16 does it no harm; the host engine looks at the frame that comes out.
    is_built = option in BUILT and step != "correct"
    built = find_built(bundle, "openvino", option, target()) if is_built else None
    model = compiled(path if built is None else built.content, path.name, threads=threads, option=option)
    inputs, outputs = (
        # OpenVINO gives a tensor several names where nothing is computed between them.
        [min(port.names & {spec.name for spec in specs} or port.names) for port in ports]
        for ports, specs in ((model.inputs, variant.inputs), (model.outputs, variant.outputs))
    )
    check_graph(variant, bundle, inputs, outputs)
    how = f"CPU, {option}" if option in BUILT else "CPU"
    description = f"OpenVINO {_version()} ({how}) for {bundle.name}"
    engine = OpenVinoEngine(variant, model.create_infer_request(), description)
    if built is not None:
        engine.golden_psnr_db = built.golden_floor_db
    return engine


def compiled(graph: Path | bytes, name: str, *, threads: int, option: str) -> Any:
    """Compile a graph, `name` for the user; EngineError where OpenVINO refuses it, or `option` does not run."""
    _library()
    core = the_core()
    # On a CPU without bfloat16 OpenVINO says nothing and computes in float32.
    if option == "bf16" and not _has_bf16():
        raise EngineError("this CPU has no bfloat16; use the engine openvino")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": _HINTS[option],
    }
    try:
        model = core.read_model(graph) if isinstance(graph, bytes) else str(graph)
        return core.compile_model(model, "CPU", settings)
    except _ERRORS as error:
        raise EngineError(f"OpenVINO cannot load {name}: {error}") from error


def _has_bf16() -> bool:
    _library()
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _library() -> Any:
    try:
        import openvino as ov
    except ImportError as error:
        raise EngineError(f"OpenVINO is not installed ({error}); pip install openvino") from error
    return ov


def _version() -> str:
    return str(_library().__version__).split("-")[0]
