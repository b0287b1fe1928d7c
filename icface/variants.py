"""The variants of a bundle: what an engine runs, with its inputs and outputs."""

from __future__ import annotations

from typing import Annotated

import msgspec

Size = Annotated[int, msgspec.Meta(ge=1, le=65_536)]
"""Of one side of a tensor or a frame."""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a variant."""

    name: str
    dtype: str
    """NumPy's name, as `uint8`."""
    shape: tuple[Size | str, ...]
    """Sizes. A name stands for a size that varies; it is the same number wherever the name occurs."""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an engine runs: one way to make a frame, or the way to neutralise a photo."""

    graph: str | None
    """ONNX file; None where the host does everything."""
    cache: tuple[TensorSpec, ...]
    """Inputs that are set once per source. The variant that neutralises has none."""
    motion: tuple[TensorSpec, ...]
    """Inputs that change from run to run."""
    outputs: tuple[TensorSpec, ...]
    graph_fp16: str | None = None
    """ONNX file of the same variant in half precision, with the same inputs and outputs; None where there is none."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.cache + self.motion

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs


class Apart(Variant, frozen=True, kw_only=True):
    """A step beside the frame's own variants. The manifest lists its inputs as `inputs`."""

    graph: str
    cache: tuple[TensorSpec, ...] = ()
    motion: tuple[TensorSpec, ...] = msgspec.field(name="inputs")


class Variants(msgspec.Struct, frozen=True, kw_only=True):
    graph: Variant
    host: Variant | None
