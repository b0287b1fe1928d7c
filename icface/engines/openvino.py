"""OpenVINO: the engine for graphs on x86 CPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from icface.bundle import Bundle
from icface.engines import Engine, Frame, Tensors, check_graph_inputs
from icface.errors import EngineError

# What OpenVINO's binding raises: its own errors as RuntimeError, tensors that do not fit as the others.
_ERRORS: Final = (RuntimeError, TypeError, ValueError)


class OpenVinoEngine(Engine):
    """Runs the bundle's graph variant."""

    def __init__(self, bundle: Bundle, request: Any, description: str) -> None:
        super().__init__(bundle.graph, description)
        self._request = request
        self._feeds: Any = {}

    def _keep_source(self, cache: Tensors) -> None:
        self._feeds = dict(cache)

    def _make_frame(self, motion: Tensors, sizes: Mapping[str, int]) -> Frame:
        for spec in self.variant.motion:
            self._feeds[spec.name] = motion[spec.name]
        try:
            # Inputs are read in place; the output is OpenVINO's own buffer, overwritten by the next frame.
            self._request.infer(self._feeds, share_inputs=True, share_outputs=True)
        except _ERRORS as error:
            raise EngineError(f"{self.description} failed: {error}") from error
        frame: Frame = self._request.get_output_tensor(0).data
        return frame

    def close(self) -> None:
        super().close()
        self._request, self._feeds = None, {}


def open_engine(bundle: Bundle, *, threads: int, option: str) -> OpenVinoEngine:
    """Compile the graph for the CPU.

    Raises:
        EngineError: the package is missing or refuses the graph.
    """
    if option not in ("", "cpu"):
        raise EngineError(f"the OpenVINO engine has no option {option!r}")
    if bundle.graph.graph is None:
        raise EngineError(f"{bundle.name} has no graph")
    try:
        import openvino as ov
    except ImportError as error:
        raise EngineError(f"OpenVINO is not installed ({error}); pip install openvino") from error
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # CPUs that have bfloat16 would use it unasked, also for pixel positions.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        model = ov.Core().compile_model(str(bundle.file(bundle.graph.graph)), "CPU", settings)
        names = [port.get_any_name() for port in model.inputs]
        request = model.create_infer_request()
    except _ERRORS as error:
        raise EngineError(f"OpenVINO cannot load {bundle.graph.graph}: {error}") from error
    check_graph_inputs(bundle, names)
    version = ov.__version__.split("-")[0]
    return OpenVinoEngine(bundle, request, f"OpenVINO {version} (CPU) for {bundle.name}")
