"""TensorRT for RTX: engines built in a second, on any machine, for GeForce RTX cards of the kinds that are asked for.

`tensorrt_rtx:fp32` and the like choose what they compute in. Kernels are compiled where the engine runs, when it runs
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from icface.building import BuildRequest, Target
from icface.bundle import Bundle
from icface.engines import Part
from icface.errors import EngineError
from icface.gpu import tensorrt as shared
from icface.gpu.tensorrt import Library, TrtEngine

TITLE: Final = "TensorRT-RTX"
PRECISIONS: Final = shared.PRECISIONS
BUILT: Final = ("", *PRECISIONS)


def _library() -> Library:
    """
    Raises:
        EngineError: it is not installed.
    """
    try:
        import tensorrt_rtx as trt
    except (ImportError, OSError, RuntimeError) as error:  # its wheels open CUDA's libraries by themselves
        raise EngineError(f"{TITLE} is not installed ({error}); pip install tensorrt-rtx-cu13") from error
    return Library(module=trt, title=TITLE, backend="tensorrt_rtx", keeps_timings=False)


def target(capabilities: Sequence[str] = ()) -> Target:
    """This GPU; or GPUs elsewhere, by compute capability, as `8.6`.

    Raises:
        EngineError: the library is missing, or does not build for one of them; or there is no GPU and none was named.
    """
    library = _library()
    return shared.ahead_target(library, capabilities) if capabilities else shared.own_target(library)


def unasked(bundle: Bundle) -> str:
    """The precision that suits the GPU, where there is one and no host code makes the frames."""
    return shared.worth_it("tensorrt_rtx", bundle)


def build(request: BuildRequest) -> bytes:
    """Build, for this GPU or ahead: a GPU is needed for the former alone.

    Raises:
        EngineError: the library is missing, or refuses the graph or the target.
    """
    return shared.build(_library(), request)


def open_engine(bundle: Bundle, part: Part, *, threads: int, option: str) -> TrtEngine:
    """Open what was built for this GPU, or ahead for GPUs of its kind.

    Raises:
        NotBuiltError: nothing was.
        EngineError: the library or the GPU is missing, or refuses the engine.
    """
    step = shared.check_option(TITLE, bundle, part, option)
    return shared.open_built(_library(), bundle, step, option)
