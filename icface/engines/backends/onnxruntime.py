"""ONNX Runtime: the portable engine.

`onnxruntime:cuda` and the like ask for an execution provider. `onnxruntime:int8` is a lower precision for CPUs, which is
built before it runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Tensors
from icface.bundle import Bundle
from icface.cpu import cpu_name
from icface.engines.base import Engine, Job, Outputs, Progress, Step, Target, check_graph, graph_variant
from icface.engines.cache import find_built
from icface.errors import EngineError
from icface.variants import TensorSpec, Variant

PRECISIONS: Final = ("int8", "fp32")
BUILT: Final = PRECISIONS

PROVIDERS: Final = {
    "": "CPUExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "fp32": "CPUExecutionProvider",
    "int8": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}

_CUDA: Final = '"onnxruntime-gpu[cuda,cudnn]"'
_PACKAGES: Final = {
    "CUDAExecutionProvider": (_CUDA, ""),
    # Made for TensorRT 10, as of onnxruntime-gpu 1.31.
    "TensorrtExecutionProvider": (f'{_CUDA} "tensorrt-cu13<11"', ""),
    "DmlExecutionProvider": ("onnxruntime-directml", " on Windows"),
    "CoreMLExecutionProvider": ("onnxruntime", " on macOS"),
}
"""The package that has a provider, and the system where it exists."""
_LIBRARIES: Final = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}
"""Providers that are libraries of their own, loaded when they are first asked for."""
_MISSING: Final = re.compile(
    r"([\w.+-]+\.so[\w.]*): cannot open shared object file|depends on \"?([\w.+-]+\.dll)"
)


class OnnxRuntimeEngine(Engine):
    """Runs a graph of the bundle."""

    def __init__(self, variant: Variant, session: Any, description: str) -> None:
        super().__init__(variant, description)
        self._session = session
        self._binding: Any = None
        self._outputs: Outputs = ()

    def _keep_source(self, cache: Tensors) -> None:
        # On a GPU the binding copies them now, once, and they stay there.
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
        except library_errors() as error:
            raise EngineError(f"{self.description} failed: {error}") from error
        return self._outputs

    def _bound(self, output: TensorSpec, buffer: NDArray[Any], sizes: Mapping[str, int]) -> NDArray[Any]:
        """Our buffer that the output is written into. It is replaced only where the size is another one."""
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


def library_errors() -> tuple[type[Exception], ...]:
    """What the library raises: its own types, which have no common base, and others for tensors that do not fit."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    own = (kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, RuntimeError, TypeError, ValueError, KeyError)


def _not_loaded(provider: str, message: str) -> EngineError | None:
    """The error for a loader's message that names a missing library; None for another message."""
    found = _MISSING.search(message)
    if found is None:
        return None
    missing = found.group(1) or found.group(2)
    # The driver's library comes with no package.
    is_driver = missing.startswith(("libcuda.so", "nvcuda.dll"))
    advice = "install NVIDIA's driver" if is_driver else _install(provider)
    return EngineError(f"{provider} did not load: {missing} is missing; {advice}")


def _install(provider: str) -> str:
    package, system = _PACKAGES.get(provider, ("onnxruntime", ""))
    return f"install the package that has it{system}: pip install {package}"


def _check_libraries(ort: Any, provider: str) -> None:
    """Name the first library that a provider needs and the loader does not find. Only Linux's loader names it."""
    if provider not in _LIBRARIES:
        return
    if hasattr(ort, "preload_dlls"):
        # It loads CUDA's libraries that pip installed; the loader would not find them. It prints what it does not find.
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
    file = Path(ort.__file__).parent / "capi" / _LIBRARIES[provider]
    if sys.platform == "linux" and file.is_file():
        try:
            ctypes.CDLL(str(file))
        except OSError as error:
            if missing := _not_loaded(provider, str(error)):
                raise missing from error


def target(capabilities: Sequence[str] = ()) -> Target:
    """This CPU."""
    if capabilities:
        raise EngineError("ONNX Runtime builds for this CPU alone; leave out --sm")
    return Target(library=f"ONNX Runtime {_library().__version__}", device=cpu_name())


def usual(bundle: Bundle, target: Target) -> str:
    """float32, because int8 can be seen."""
    return "fp32"


def unasked(bundle: Bundle) -> str:
    """Nothing, because the portable engine is this one in float32."""
    return ""


def build(job: Job, graph: bytes, target: Target, progress: Progress) -> bytes:
    """Load the graph and return it."""
    open_session(graph, job.bundle.graph.graph or "the graph", PROVIDERS["cpu"], threads=1)
    return graph


def open_engine(bundle: Bundle, step: Step, *, threads: int, option: str) -> OnnxRuntimeEngine:
    """Open the graph on a provider, and on no other; or with a precision, which has to be built first."""
    if option not in PROVIDERS:
        known = ", ".join(list(PROVIDERS)[1:])
        raise EngineError(f"ONNX Runtime has no provider or precision {option!r}; choose from {known}")
    variant, path = graph_variant(bundle, step)
    ort, wanted = _library(), PROVIDERS[option]
    if wanted not in ort.get_available_providers():
        raise EngineError(f"this build of ONNX Runtime has no {wanted}; {_install(wanted)}")
    _check_libraries(ort, wanted)
    is_built = option in BUILT and step == "animate"
    built = find_built(bundle, "onnxruntime", option, target()) if is_built else None
    session = open_session(path if built is None else built.content, path.name, wanted, threads=threads)
    used = session.get_providers()
    if wanted not in used:
        why = f"there is no such device, no driver for it, or a library is missing; {_install(wanted)}"
        raise EngineError(f"ONNX Runtime did not load {wanted} and fell back to {', '.join(used)}: {why}")
    check_graph(variant, bundle, *_names(session))
    how = wanted if built is None else f"{wanted}, {option}"
    engine = OnnxRuntimeEngine(variant, session, f"ONNX Runtime {ort.__version__} ({how}) for {bundle.name}")
    if built is not None:
        engine.golden_psnr_db = built.golden_floor_db
    return engine


def _library() -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise EngineError(f"ONNX Runtime is not installed ({error}); pip install onnxruntime") from error
    return ort


def _names(session: Any) -> tuple[list[str], list[str]]:
    return [item.name for item in session.get_inputs()], [item.name for item in session.get_outputs()]


def open_session(graph: Path | bytes, name: str, provider: str, *, threads: int) -> Any:
    """Open an `onnxruntime.InferenceSession` on a file or its content; EngineError where the library refuses it.

    Args:
        name: what the user calls the graph.
        provider: one of PROVIDERS' values.
        threads: CPU threads it may use; 0 for all.
    """
    ort = _library()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait would take a whole core from the tracker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(graph, options, providers=[provider])
    except library_errors() as error:
        refused = EngineError(f"ONNX Runtime cannot load {name}: {error}")
        raise (_not_loaded(provider, str(error)) or refused) from error


def runner(graph: Path | bytes) -> Callable[[Tensors], dict[str, NDArray[Any]]]:
    """A function that runs a graph on all cores, from inputs to outputs by name; EngineError where it fails."""
    session = open_session(graph, "the graph", PROVIDERS["cpu"], threads=0)
    inputs, outputs = _names(session)

    def run(tensors: Tensors) -> dict[str, NDArray[Any]]:
        try:
            values = session.run(outputs, {name: tensors[name] for name in inputs})
        except library_errors() as error:
            raise EngineError(f"ONNX Runtime cannot run the graph: {error}") from error
        return dict(zip(outputs, values, strict=True))

    return run
