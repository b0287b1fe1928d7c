"""TensorRT for RTX: engines that are built in a second on any machine, for the kinds of GeForce RTX cards asked for.

`tensorrt_rtx:fp32` and the like choose the precision. Kernels are compiled where the engine runs, when it runs first.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from icface.engines.nvidia import building, running
from icface.engines.nvidia import library as nvidia

LIBRARY: Final = nvidia.Library(
    name="tensorrt_rtx", title="TensorRT-RTX", install="pip install tensorrt-rtx-cu13", rtx=True
)
PRECISIONS: Final = nvidia.PRECISIONS
BUILT: Final = ("", *PRECISIONS)

target = LIBRARY.target
usual = LIBRARY.usual
unasked = LIBRARY.unasked
build = partial(building.build, LIBRARY)
open_engine = partial(running.open_built, LIBRARY)
