"""ONNX Runtime: the portable engine. `onnxruntime:cuda` and the like ask for an execution provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from icface.bundle import Bundle
from icface.engines import Engine, Frame, Tensors, check_graph_inputs
from icface.errors import EngineError

PROVIDERS: Final = {
    "": "CPUExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}


class OnnxRuntimeEngine(Engine):
    """Runs the bundle's graph variant."""

    def __init__(self, bundle: Bundle, session: Any, description: str) -> None:
        super().__init__(bundle.graph, description)
        self._session = session
        self._binding: Any = None
        self._frame = np.empty(0, dtype=np.uint8)

    def _keep_source(self, cache: Tensors) -> None:
        # On a GPU the binding copies them over now, once; there they stay.
        self._binding = self._session.io_binding()
        self._frame = np.empty(0, dtype=np.uint8)
        for name, tensor in cache.items():
            self._binding.bind_cpu_input(name, tensor)

    def _make_frame(self, motion: Tensors, sizes: Mapping[str, int]) -> Frame:
        try:
            for spec in self.variant.motion:
                self._binding.bind_cpu_input(spec.name, motion[spec.name])
            self._bind_output(sizes)
            self._session.run_with_iobinding(self._binding)
        except _library_errors() as error:
            raise EngineError(f"{self.description} failed: {error}") from error
        return self._frame

    def _bind_output(self, sizes: Mapping[str, int]) -> None:
        """Have the frame written into a buffer of ours, which a new size alone replaces."""
        output = self.variant.outputs[0]
        shape = tuple(size if isinstance(size, int) else sizes[size] for size in output.shape)
        if self._frame.shape != shape:
            self._frame = np.empty(shape, dtype=output.dtype)
            self._binding.bind_output(
                output.name,
                device_type="cpu",
                element_type=self._frame.dtype.type,
                shape=shape,
                buffer_ptr=self._frame.ctypes.data,
            )

    def close(self) -> None:
        super().close()
        self._session = self._binding = None


def _library_errors() -> tuple[type[Exception], ...]:
    """What the library raises: types of its own without a common base, and tensors that do not fit."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    own = (kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, TypeError, ValueError, KeyError)


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
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(bundle.file(bundle.graph.graph)), options, providers=[wanted])
    except _library_errors() as error:
        raise EngineError(f"ONNX Runtime cannot load {bundle.graph.graph}: {error}") from error
    used = session.get_providers()
    if wanted not in used:
        raise EngineError(
            f"ONNX Runtime did not load {wanted} and fell back to {', '.join(used)}; a library is missing"
        )
    check_graph_inputs(bundle, [item.name for item in session.get_inputs()])
    return OnnxRuntimeEngine(bundle, session, f"ONNX Runtime {ort.__version__} ({wanted}) for {bundle.name}")
