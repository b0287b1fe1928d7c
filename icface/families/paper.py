"""The paper family: G_N makes the photo's crop neutral, once; G_A moves it, frame by frame. Both are graphs.

On the host there is only the crop, and the attributes handed on as they are: G_N's image is frontal and neutral, so
nothing is to be subtracted from them.

Source: ICface (arXiv 1904.01909).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.arrays import Frame
from icface.attributes import COUNT, FloatArray
from icface.bundle import Bundle, TensorSpec
from icface.face.alignment import ALIGNMENT, align
from icface.face.landmarks import LandmarkDetector, Landmarks
from icface.face.suitability import check_suitable
from icface.families import Family, Neutralise, Tensors, cannot_run
from icface.images import cut_crop

CODE_VERSION: Final = 1
"""Raise it when this code, or the alignment, gives another crop than before."""


class PaperFamily(Family):
    """See the module.

    Args:
        size_px: side of the crop, which is that of the frames.
        cache: names of the tensors that G_N's graph makes for G_A's.
    """

    version = f"{CODE_VERSION}-{ALIGNMENT}"
    # The networks paint everything anew, also what does not move. The face's box begins at .19 of the side.
    rim = 1 / 6

    def __init__(self, size_px: int, cache: tuple[str, ...]) -> None:
        self._size_px = size_px
        self._cache = cache

    def prepare(
        self,
        frame: Frame,
        face: Landmarks,
        *,
        detector: LandmarkDetector,
        neutralise: Neutralise,
        size_px: int | None,
    ) -> Tensors:
        """See Family. `size_px` is the model's own."""
        check_suitable(face)
        affine = align(face, self._size_px)
        made = neutralise({"crop": cut_crop(frame, affine, self._size_px)})
        return {name: made[name] for name in ("neutral", *self._cache)} | {"crop_to_photo": affine}

    def motion(self, cache: Mapping[str, NDArray[np.generic]]) -> PaperMotion:
        """See Family."""
        return PaperMotion()


class PaperMotion:
    """The attributes, in the shape that the graph takes."""

    def __init__(self) -> None:
        self._attributes = np.empty((1, COUNT), dtype=np.float32)
        self._tensors: dict[str, NDArray[np.generic]] = {"attributes": self._attributes}

    def step(self, attributes: FloatArray) -> Mapping[str, NDArray[np.generic]]:
        """See `icface.families.Motion`."""
        self._attributes[0] = attributes
        return self._tensors


def open_family(bundle: Bundle) -> PaperFamily:
    """See `icface.families.open_family`."""
    if bundle.motion is not None:
        raise cannot_run(bundle, f"it wants the motion {bundle.motion}, and its graph should need none")
    if bundle.alignment != ALIGNMENT:
        raise cannot_run(bundle, f"it was trained on crops by {bundle.alignment!r}, not by {ALIGNMENT!r}")
    if bundle.size_px is None:
        raise cannot_run(bundle, "it states no size")
    if bundle.neutralise is None:
        raise cannot_run(bundle, "it has no graph to neutralise a photo")
    picture = (bundle.size_px, bundle.size_px, 3)
    wanted = (
        (bundle.neutralise.motion, TensorSpec(name="crop", dtype="uint8", shape=picture)),
        (bundle.graph.motion, TensorSpec(name="attributes", dtype="float32", shape=(1, COUNT))),
        (bundle.graph.outputs, TensorSpec(name="frame", dtype="uint8", shape=picture)),
    )
    for found, spec in wanted:
        if found != (spec,):
            raise cannot_run(
                bundle, f"its graphs do not take or give {spec.name} as {spec.dtype} {spec.shape}"
            )
    if TensorSpec(name="neutral", dtype="uint8", shape=picture) not in bundle.neutralise.outputs:
        raise cannot_run(bundle, f"its graphs do not give neutral as uint8 {picture}")
    return PaperFamily(bundle.size_px, tuple(spec.name for spec in bundle.graph.cache))
