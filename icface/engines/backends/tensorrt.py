"""TensorRT: engines that are built on the GPU that runs them. `tensorrt:fp32` and the like choose the precision."""

from __future__ import annotations

from functools import partial
from typing import Final

from icface.engines.nvidia import building, running
from icface.engines.nvidia import library as nvidia

LIBRARY: Final = nvidia.Library(
    name="tensorrt",
    title="TensorRT",
    install="pip install tensorrt-cu13; on a Jetson it comes with JetPack",
    rtx=False,
)
PRECISIONS: Final = nvidia.PRECISIONS
BUILT: Final = ("", *PRECISIONS)

target = LIBRARY.target
usual = LIBRARY.usual
unasked = LIBRARY.unasked
build = partial(building.build, LIBRARY)
open_engine = partial(running.open_built, LIBRARY)
