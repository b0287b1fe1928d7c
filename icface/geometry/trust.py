"""Whether a network knows a photo's light and skin: at rest it should leave a neutral face as it is."""

from __future__ import annotations

import cv2
import numpy as np

from icface.arrays import Tensors
from icface.attributes import FloatArray, neutral
from icface.geometry.renewal import Corrected
from icface.geometry.rig import FaceRig
from icface.geometry.topology import OVAL


def rest_change(cache: Tensors, corrected: Corrected) -> FloatArray:
    """How far the network changes the photo's neutral frame, in levels of 0 to 255: the mean over the face, a number ().

    Args:
        cache: what was made of the photo; `neutral` is its neutral frame by geometry.
        corrected: makes frames with the network.
    """
    rig = FaceRig(cache)
    shown = corrected(cache, rig.motion(neutral()))
    face = np.zeros(shown.shape[:2], dtype=np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(rig.vertices[list(OVAL), :2]).astype(np.int32)), 1)
    if not face.any():
        return np.zeros((), dtype=np.float32)
    return np.array(cv2.absdiff(shown, cache["neutral"])[face > 0].mean(), dtype=np.float32)
