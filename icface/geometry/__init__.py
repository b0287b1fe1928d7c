"""The edge family's host code: a photo's neutral 3-D face, its motion, and the warp.

`prepare_source` once per photo, then per frame `Motion.step(attributes)` and `HostWarp.frame(maps)` (or the
bundle's graph in its place). Read shape → layers → prepare → motion → warp.
"""

from icface.geometry.motion import Motion
from icface.geometry.prepare import GEOMETRY_VERSION, prepare_source
from icface.geometry.warp import HostWarp

__all__ = ["GEOMETRY_VERSION", "HostWarp", "Motion", "prepare_source"]
