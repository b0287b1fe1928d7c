"""The paper family: G_N makes the photo's crop neutral, once; G_A moves it, frame by frame. Both are graphs.

The host cuts the crop and hands the first 20 attributes on as they are. The paper has no others. G_N's image is frontal
and neutral, so there is nothing to subtract from them.

Source: ICface (arXiv 1904.01909).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from icface.arrays import Frame, Tensors
from icface.attributes import COUNT, FloatArray, with_extensions
from icface.bundle import Bundle
from icface.face.action_units import measure_attributes
from icface.face.alignment import ALIGNMENT, align
from icface.face.landmarks import Landmarks
from icface.face.suitability import check_suitable
from icface.families import Family, Means, cannot_run
from icface.images import cut_crop
from icface.variants import TensorSpec

CODE_VERSION: Final = 2
"""Raise it when this code, or the alignment, gives another crop than before."""


class PaperRig:
    """Gives the attributes in the shape that the graph takes."""

    def __init__(self) -> None:
        self._attributes = np.empty((1, COUNT), dtype=np.float32)

    def motion(self, attributes: FloatArray) -> Tensors:
        """See `icface.families.Rig`."""
        self._attributes[0] = attributes[:COUNT]
        return {"attributes": self._attributes}


def open_family(bundle: Bundle) -> Family:
    """See `icface.families.open_family`."""
    if bundle.host_code is not None:
        raise cannot_run(bundle, f"it wants the host code {bundle.host_code}, and its graph should need none")
    if bundle.alignment != ALIGNMENT:
        raise cannot_run(bundle, f"it was trained on crops by {bundle.alignment!r}, not by {ALIGNMENT!r}")
    if bundle.person is not None:
        raise cannot_run(bundle, "it knows one person, and its networks cannot be told")
    if bundle.size_px is None:
        raise cannot_run(bundle, "it states no size")
    if bundle.neutralise is None:
        raise cannot_run(bundle, "it has no graph to neutralise a photo")
    picture = (bundle.size_px, bundle.size_px, 3)
    for found, name, dtype, shape in (
        (bundle.neutralise.motion, "crop", "uint8", picture),
        (bundle.graph.motion, "attributes", "float32", (1, COUNT)),
        (bundle.graph.outputs, "frame", "uint8", picture),
    ):
        if found != (TensorSpec(name=name, dtype=dtype, shape=shape),):
            raise cannot_run(bundle, f"its graphs do not take or give {name} as {dtype} {shape}")
    if TensorSpec(name="neutral", dtype="uint8", shape=picture) not in bundle.neutralise.outputs:
        raise cannot_run(bundle, f"its graphs do not give neutral as uint8 {picture}")
    names = ("neutral", *(spec.name for spec in bundle.graph.cache))
    side = bundle.size_px

    def prepare(frame: Frame, face: Landmarks, means: Means) -> Tensors:
        check_suitable(face)
        affine = align(face, side)
        made = means.neutralise({"crop": cut_crop(frame, affine, side)})
        own = with_extensions(measure_attributes(face))
        return {name: made[name] for name in names} | {"crop_to_photo": affine, "own": own}

    # The networks paint everything anew, also what does not move. The face's box begins at .19 of the side.
    return Family(
        f"{CODE_VERSION}-{ALIGNMENT}", rim=1 / 6, prepare=prepare, rig=lambda cache, still_border: PaperRig()
    )
