"""OpenVINO: the engine for graphs on x86 CPUs. `openvino:bf16` computes in half the precision, about twice as fast."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from icface.bundle import Bundle, TensorSpec, Variant
from icface.engines import Engine, Outputs, Part, Tensors, check_graph, graph_step
from icface.errors import EngineError

# What OpenVINO's binding raises: its own errors as RuntimeError, tensors that do not fit as the others.
_ERRORS: Final = (RuntimeError, TypeError, ValueError)

PRECISIONS: Final = {"": "f32", "cpu": "f32", "bf16": "bf16"}
"""OpenVINO's names, by option. Unasked, CPUs that have bfloat16 would use it, also for pixel positions."""

_CORES: Final[list[Any]] = []
_OPENING: Final = threading.Lock()


def the_core() -> Any:
    """The process's one `openvino.Core`, for its whole life.

    On CPUs with AMX a Core gives the thread that makes it a stack for signals, and puts back what was there before when
    it is destroyed. Where two are not destroyed in the opposite order, or on another thread, a thread is left with a
    stack that is freed: its next signal, as Ctrl-C, kills the process.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    import openvino as ov

    with _OPENING:
        if not _CORES:
            _CORES.append(ov.Core())
        return _CORES[0]


class OpenVinoEngine(Engine):
    """Runs a graph of the bundle."""

    def __init__(self, step: Variant, request: Any, description: str) -> None:
        super().__init__(step, description)
        self._request = request
        self._feeds: Any = {}

    def _keep_source(self, cache: Tensors) -> None:
        self._feeds = dict(cache)

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        for spec in self.variant.motion:
            self._feeds[spec.name] = motion[spec.name]
        try:
            # Inputs are read in place; outputs are OpenVINO's own buffers, overwritten by the next run.
            self._request.infer(self._feeds, share_inputs=True, share_outputs=True)
        except _ERRORS as error:
            raise EngineError(f"{self.description} failed: {error}") from error
        return tuple(self._request.get_tensor(spec.name).data for spec in self.variant.outputs)

    def close(self) -> None:
        super().close()
        self._request, self._feeds = None, {}


def _name(names: set[str], specs: Sequence[TensorSpec]) -> str:
    """A tensor may have several names here, where nothing is computed between them: ours, if it is one of them."""
    expected = {spec.name for spec in specs}
    return min(names & expected or names)


def open_engine(bundle: Bundle, part: Part, *, threads: int, option: str) -> OpenVinoEngine:
    """Compile the graph for the CPU.

    Raises:
        EngineError: the package is missing or refuses the graph, or the CPU has no bfloat16.
    """
    if option not in PRECISIONS:
        raise EngineError(f"the OpenVINO engine has no option {option!r}; choose from cpu, bf16")
    step, path = graph_step(bundle, part)
    try:
        import openvino as ov

        core = the_core()
    except ImportError as error:
        raise EngineError(f"OpenVINO is not installed ({error}); pip install openvino") from error
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": PRECISIONS[option],
    }
    # Where it has none, OpenVINO says nothing and computes in float32.
    if option == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EngineError("this CPU has no bfloat16; use the engine openvino")
    try:
        model = core.compile_model(str(path), "CPU", settings)
        names = [
            [_name(port.names, specs) for port in ports]
            for ports, specs in ((model.inputs, step.inputs), (model.outputs, step.outputs))
        ]
        request = model.create_infer_request()
    except _ERRORS as error:
        raise EngineError(f"OpenVINO cannot load {step.graph}: {error}") from error
    check_graph(step, bundle, *names)
    version = ov.__version__.split("-")[0]
    how = "CPU, bf16" if option == "bf16" else "CPU"
    return OpenVinoEngine(step, request, f"OpenVINO {version} ({how}) for {bundle.name}")
