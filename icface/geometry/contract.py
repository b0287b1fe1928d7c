"""The tensors of an edge bundle's variants (docs/bundle.md). Compiled loops read them without bounds checks."""

from __future__ import annotations

from typing import Any, Final

from icface.bundle import Bundle
from icface.geometry.gates import REGIONS
from icface.geometry.patch import CONDITIONS, PATCH_PX
from icface.variants import TensorSpec


def _spec(name: str, dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


CACHE: Final = (
    _spec("skin", "uint8", "skin_h", "skin_w", 4),
    _spec("plate", "uint8", "height", "width", 3),
    _spec("inner", "uint8", "inner_h", "inner_w", 3),
)
MAPS: Final = (
    _spec("skin_map", "float32", "height", "width", 2),
    _spec("inner_map", "float32", "height", "width", 2),
    _spec("inner_alpha", "uint8", "height", "width"),
    _spec("inner_shade", "uint8", "height", "width"),
)
TOLD: Final = (
    _spec("conditions", "float32", 1, CONDITIONS),
    _spec("gates", "float32", 1, len(REGIONS)),
)
"""What a network is told, beside its picture."""
CORRECTION: Final = (
    _spec("patch_to_frame", "float32", 2, 3),
    *TOLD,
)
BOXES: Final = (_spec("regions", "int32", "count", 4),)
"""Motion of the host variant alone."""
FRAME: Final = (_spec("frame", "uint8", "height", "width", 3),)
_Specs = tuple[TensorSpec, ...]
_PATCH: Final = (1, PATCH_PX, PATCH_PX, 4)
_SEEN: Final = _spec("patch", "uint8", *_PATCH)
CALMED: Final = "calmed"
"""What the graph that neutralises gives: a correction of the photo's neutral frame."""


def misfit(bundle: Bundle) -> str:
    """What of a bundle's tensors is not as the warp takes it, in a few words; empty where all are."""
    motion = MAPS + (CORRECTION if bundle.correct is not None else ())
    wanted: list[tuple[Any, _Specs, _Specs, _Specs, str]] = [(bundle.graph, CACHE, motion, FRAME, "graph")]
    if bundle.host is not None:
        wanted.append((bundle.host, CACHE, motion + BOXES, FRAME, "host"))
    for step, made, what in (
        (bundle.correct, "correction", "correct"),
        (bundle.neutralise, CALMED, "neutralise"),
    ):
        if step is not None:
            wanted.append((step, (), (_SEEN, *TOLD), (_spec(made, "float32", *_PATCH),), what))
    for variant, cache, inputs, outputs, what in wanted:
        if (variant.cache, variant.motion, variant.outputs) != (cache, inputs, outputs):
            return f"the tensors of its variant {what} are not those of the warp"
    return ""
