"""TensorRT: engines built for one NVIDIA GPU, on it. `tensorrt:fp32` and the like choose what they compute in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from icface.building import BuildRequest, Target
from icface.bundle import Bundle
from icface.engines import Part
from icface.errors import EngineError
from icface.gpu import tensorrt as shared
from icface.gpu.tensorrt import Library, TrtEngine

TITLE: Final = "TensorRT"
PRECISIONS: Final = shared.PRECISIONS
BUILT: Final = ("", *PRECISIONS)


def _library() -> Library:
    """
    Raises:
        EngineError: it is not installed.
    """
    try:
        import tensorrt as trt
    except (ImportError, OSError, RuntimeError) as error:  # its wheels open CUDA's libraries by themselves
        raise EngineError(
            f"{TITLE} is not installed ({error}); pip install tensorrt-cu13, or on a Jetson see docs/jetson.md"
        ) from error
    return Library(module=trt, title=TITLE, backend="tensorrt", keeps_timings=True)


def target(capabilities: Sequence[str] = ()) -> Target:
    """This GPU.

    Raises:
        EngineError: the library or the GPU is missing, or other GPUs were asked for.
    """
    if capabilities:
        raise EngineError(
            f"{TITLE} builds for this machine's GPU alone; leave out --sm, or use --backend tensorrt-rtx"
        )
    return shared.own_target(_library())


def unasked(bundle: Bundle) -> str:
    """The precision that suits the GPU, where there is one and no host code makes the frames."""
    return shared.worth_it("tensorrt", bundle)


def build(request: BuildRequest) -> bytes:
    """Build on this GPU: it tries kernels, which takes a minute or some.

    Raises:
        EngineError: the library or the GPU is missing, or refuses the graph.
    """
    return shared.build(_library(), request)


def open_engine(bundle: Bundle, part: Part, *, threads: int, option: str) -> TrtEngine:
    """Open what was built for this GPU.

    Raises:
        NotBuiltError: nothing was.
        EngineError: the library or the GPU is missing, or refuses the engine.
    """
    step = shared.check_option(TITLE, bundle, part, option)
    return shared.open_built(_library(), bundle, step, option)
