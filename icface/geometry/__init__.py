"""The edge family's host code: a photo's neutral 3-D face, the rig that moves it, and the warp.

`prepare_source` runs once per photo. `FaceRig.motion(attributes)` and `HostWarp.frame(motion)` run once per frame; the
bundle's graph may take the place of `HostWarp`. Read shape → layers → prepare → rig → warp.
"""
