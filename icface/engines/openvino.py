"""OpenVINO: the engine for graphs on x86 CPUs."""

from __future__ import annotations

from typing import Any

import numpy as np

from icface.bundle import Bundle
from icface.engines import Frame, Owner, Tensors
from icface.errors import EngineError


class OpenVinoEngine:
    """Runs the bundle's graph variant."""

    def __init__(self, bundle: Bundle, request: Any, description: str) -> None:
        self.owner = Owner()
        self.description = description
        self._request = request
        self._inputs = [spec.name for spec in bundle.graph.inputs]
        self._cache: Tensors = {}

    def set_source(self, cache: Tensors) -> None:
        self._cache = {name: np.ascontiguousarray(cache[name]) for name in self._inputs if name in cache}

    def animate(self, motion: Tensors) -> Frame:
        self.owner.check()
        if not self._cache:
            raise EngineError("no source is set")
        feeds = {name: motion[name] if name in motion else self._cache[name] for name in self._inputs}
        # Inputs are read in place; the output is OpenVINO's own buffer, overwritten by the next frame.
        self._request.infer(feeds, share_inputs=True, share_outputs=True)
        frame: Frame = self._request.get_output_tensor(0).data
        return frame

    def close(self) -> None:
        self._request = None


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
    try:
        model = ov.Core().compile_model(
            str(bundle.file(bundle.graph.graph)),
            "CPU",
            {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1},
        )
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot load {bundle.graph.graph}: {error}") from error
    version = ov.__version__.split("-")[0]
    return OpenVinoEngine(bundle, model.create_infer_request(), f"OpenVINO {version} (CPU) for {bundle.name}")
