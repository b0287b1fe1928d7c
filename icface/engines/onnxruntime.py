"""ONNX Runtime: the portable engine. `onnxruntime:cuda` and the like ask for an execution provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.bundle import Bundle, TensorSpec, Variant
from icface.engines import Engine, Outputs, Part, Tensors, check_graph, graph_step
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
    """Runs a graph of the bundle."""

    def __init__(self, step: Variant, session: Any, description: str) -> None:
        super().__init__(step, description)
        self._session = session
        self._binding: Any = None
        self._outputs: Outputs = ()

    def _keep_source(self, cache: Tensors) -> None:
        # On a GPU the binding copies them over now, once; there they stay.
        self._binding = self._session.io_binding()
        self._outputs = tuple(np.empty(0, dtype=spec.dtype) for spec in self.variant.outputs)
        for name, tensor in cache.items():
            self._binding.bind_cpu_input(name, tensor)

    def _compute(self, motion: Tensors, sizes: Mapping[str, int]) -> Outputs:
        try:
            for spec in self.variant.motion:
                self._binding.bind_cpu_input(spec.name, motion[spec.name])
            self._outputs = tuple(
                self._bound(spec, buffer, sizes)
                for spec, buffer in zip(self.variant.outputs, self._outputs, strict=True)
            )
            self._session.run_with_iobinding(self._binding)
        except _library_errors() as error:
            raise EngineError(f"{self.description} failed: {error}") from error
        return self._outputs

    def _bound(self, output: TensorSpec, buffer: NDArray[Any], sizes: Mapping[str, int]) -> NDArray[Any]:
        """A buffer of ours that the output is written into; another size alone replaces it."""
        shape = tuple(size if isinstance(size, int) else sizes[size] for size in output.shape)
        if buffer.shape != shape:
            buffer = np.empty(shape, dtype=output.dtype)
            self._binding.bind_output(
                output.name,
                device_type="cpu",
                element_type=buffer.dtype.type,
                shape=shape,
                buffer_ptr=buffer.ctypes.data,
            )
        return buffer

    def close(self) -> None:
        super().close()
        self._session = self._binding = None


def _library_errors() -> tuple[type[Exception], ...]:
    """What the library raises: types of its own without a common base, and tensors that do not fit."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    own = (kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, TypeError, ValueError, KeyError)


def open_engine(bundle: Bundle, part: Part, *, threads: int, option: str) -> OnnxRuntimeEngine:
    """Open the graph on a provider.

    Raises:
        EngineError: the package or the provider is missing, fell back, or refuses the graph.
    """
    if option not in PROVIDERS:
        raise EngineError(
            f"ONNX Runtime has no provider {option!r}; choose from {', '.join(list(PROVIDERS)[1:])}"
        )
    step, path = graph_step(bundle, part)
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
        session = ort.InferenceSession(str(path), options, providers=[wanted])
    except _library_errors() as error:
        raise EngineError(f"ONNX Runtime cannot load {step.graph}: {error}") from error
    used = session.get_providers()
    if wanted not in used:
        raise EngineError(
            f"ONNX Runtime did not load {wanted} and fell back to {', '.join(used)}; a library is missing"
        )
    names = ([item.name for item in items] for items in (session.get_inputs(), session.get_outputs()))
    check_graph(step, bundle, *names)
    return OnnxRuntimeEngine(step, session, f"ONNX Runtime {ort.__version__} ({wanted}) for {bundle.name}")
