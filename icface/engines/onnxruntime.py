"""ONNX Runtime: the portable engine. `onnxruntime:cuda` and the like ask for an execution provider."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from icface.bundle import Bundle
from icface.engines import Frame, Owner, Tensors
from icface.errors import EngineError

PROVIDERS: Final = {
    "": "CPUExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}


class OnnxRuntimeEngine:
    """Runs the bundle's graph variant."""

    def __init__(self, bundle: Bundle, session: Any, description: str) -> None:
        self.owner = Owner()
        self.description = description
        self._session = session
        self._inputs = [spec.name for spec in bundle.graph.inputs]
        self._output = bundle.graph.outputs[0].name
        self._cache: Tensors = {}

    def set_source(self, cache: Tensors) -> None:
        self._cache = {name: np.ascontiguousarray(cache[name]) for name in self._inputs if name in cache}

    def animate(self, motion: Tensors) -> Frame:
        self.owner.check()
        if not self._cache:
            raise EngineError("no source is set")
        feeds = {name: motion[name] if name in motion else self._cache[name] for name in self._inputs}
        frame: Frame = self._session.run([self._output], feeds)[0]
        return frame

    def close(self) -> None:
        self._session = None


def open_engine(bundle: Bundle, *, threads: int, option: str) -> OnnxRuntimeEngine:
    """Open the graph on a provider.

    Raises:
        EngineError: the package or the provider is missing, fell back, or refuses the graph.
    """
    if option not in PROVIDERS:
        raise EngineError(
            f"ONNX Runtime has no provider {option!r}; choose from {', '.join(list(PROVIDERS)[1:])}"
        )
    if bundle.graph.graph is None:
        raise EngineError(f"{bundle.name} has no graph")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise EngineError(f"ONNX Runtime is not installed ({error}); pip install onnxruntime") from error
    wanted = PROVIDERS[option]
    if wanted not in ort.get_available_providers():
        raise EngineError(f"this build of ONNX Runtime has no {wanted}; install the package that has it")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin cost a whole core beside the tracker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(bundle.file(bundle.graph.graph)), options, providers=[wanted])
    except Exception as error:  # the library raises its own, undocumented types
        raise EngineError(f"ONNX Runtime cannot load {bundle.graph.graph}: {error}") from error
    used = session.get_providers()
    if wanted not in used:
        raise EngineError(
            f"ONNX Runtime did not load {wanted} and fell back to {used[0]}; a library is missing"
        )
    return OnnxRuntimeEngine(bundle, session, f"ONNX Runtime {ort.__version__} ({wanted}) for {bundle.name}")
