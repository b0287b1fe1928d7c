"""A photo that was made neutral: what a Reenactor shows, and what users look at beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from icface.arrays import Array, Frame, Tensors
from icface.attributes import FloatArray
from icface.attributes import neutral as neutral_attributes
from icface.errors import SourceError
from icface.families import Rig


@dataclass(frozen=True)
class PreparedSource:
    """A photo made neutral, ready to be shown by the Reenactor that prepared it."""

    photo_frame: Frame
    """(H, W, 3) RGB, the whole photo."""
    crop_to_photo: Array
    """(2, 3) affine from pixels of the animated crop to pixels of the photo."""
    neutral: Frame
    """(T, T, 3) RGB, the neutral image for a user to look at. T is the side of the frames."""
    cache: Tensors
    """What the family prepared: the engine's cache tensors and what the rig reads."""
    rig: Rig = field(repr=False)
    rim: float
    """Share of a frame's side, along its border, that shows no face. There the frame may fade into the photo."""
    notes: tuple[str, ...] = ()
    """What the user should know, one line each."""
    key: str = ""
    """Under which the source cache keeps it; empty: nowhere."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        return self.neutral.shape[1], self.neutral.shape[0]

    @property
    def own(self) -> FloatArray:
        """(SIZE,) the photo's own pose and expression; neutral where a family does not tell."""
        return self.cache.get("own", neutral_attributes())

    @property
    def has_layers(self) -> bool:
        """Whether the person could be told from the background."""
        return int(self.cache.get("margin", 0)) > 0

    @property
    def one_layer_because(self) -> str:
        """Why it has no layers, as part of a sentence."""
        said = bytes(self.cache.get("one_layer_because", ())).decode()
        return said or "no clear outline of the person was found"

    def before(self, plate: Frame, *, free: bool = True) -> PreparedSource:
        """The same person before another background.

        Args:
            plate: (T, T, 3) RGB, of the frames' size.
            free: it may be anything, so the person's own colours are taken. False: it is like the photo's.

        Raises:
            SourceError: the person could not be told from the background, or the Reenactor was not asked for
                `free_layer`.
        """
        layer = "free" if free else "skin"
        if not self.has_layers:
            raise SourceError(f"the background cannot be replaced, because {self.one_layer_because}")
        if layer not in self.cache:
            raise SourceError(
                "the background cannot be replaced: the source was prepared without `free_layer`"
            )
        return replace(self, cache={**self.cache, "skin": self.cache[layer], "plate": plate})
