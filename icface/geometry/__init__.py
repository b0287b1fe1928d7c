"""The edge family's host code: a photo's neutral 3-D face, the rig that moves it, and the warp.

`prepare_source` runs once per photo. `FaceRig.motion(attributes)` and `HostWarp.frame(motion)` run once per frame;
the bundle's graph may take the place of `HostWarp`. Read shape → layers → prepare → rig → warp.
"""

from icface.geometry.prepare import GEOMETRY_VERSION, prepare_source
from icface.geometry.rig import FaceRig
from icface.geometry.warp import HostWarp

__all__ = ["GEOMETRY_VERSION", "FaceRig", "HostWarp", "prepare_source"]
