"""What graphs see in use: photos, and what drives them. Lower precisions are scaled on it, and measured with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import AttributeTrack, FloatArray, neutral, read_csv, to_openface
from icface.bundle import Bundle
from icface.engines import neutralise
from icface.errors import ConfigError, SourceError
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.families import Family, open_family
from icface.images import load_photo
from icface.reenactor import MAX_FACES, choose_face

logger = logging.getLogger(__name__)

Tensors = dict[str, NDArray[np.generic]]
Rows = NDArray[np.float32]

TRACK: Final = Path(__file__).parent / "data" / "track.csv"
"""examples/driver.mp4 as the product recorded it, 120 of its 240 rows: blinks, talking, 17° of yaw each way."""
EXAMPLE_PHOTO: Final = Path(__file__).resolve().parents[1] / "examples" / "source.jpg"
"""There in a checkout; the installed package has none."""
ROWS: Final = 120
SIZE_PX: Final = 256
"""Side of the frames of models that make any size: enough for their faces to be measured."""


@dataclass(frozen=True)
class Samples:
    """Photos made ready, and the rows that move them; photos take turns from row to row.

    Made by `collect`. Every walk over the samples gives them anew, in the same order.
    """

    family: Family
    sources: tuple[Mapping[str, NDArray[np.generic]], ...]
    """What the family prepared of each photo: the cache tensors, and what its motion reads."""
    crops: tuple[Tensors, ...]
    """What the bundle's `neutralise` graph was given for each photo; empty where it has none."""
    cache_names: tuple[str, ...]
    motion_names: tuple[str, ...]
    attributes: FloatArray
    """(n, 20) on the bundle's scale."""

    def __len__(self) -> int:
        return len(self.attributes)

    def feeds(self) -> Iterator[Tensors]:
        """All inputs of the graph that makes frames, sample by sample; the caller's own, but for the cache tensors."""
        motions = [self.family.motion(source) for source in self.sources]
        for number, row in enumerate(self.attributes):
            turn = number % len(self.sources)
            moved = motions[turn].step(row)
            cache = {name: np.asarray(self.sources[turn][name]) for name in self.cache_names}
            yield cache | {name: moved[name].copy() for name in self.motion_names}

    def calibration(self) -> Iterator[Tensors]:
        """The same; what quantising looks at."""
        return self.feeds()


def collect(
    bundle: Bundle,
    photos: Sequence[Path] = (),
    track: Path | None = None,
    *,
    rows: int = ROWS,
    size_px: int = SIZE_PX,
) -> Samples:
    """Prepare photos and choose rows of a track.

    Args:
        bundle: the model that the samples are for.
        photos: of faces; without any, the example's, where this is a checkout. One without a face that can be used is
            left out, with a warning.
        track: a CSV of `icface-live --record-attributes` or of OpenFace; None takes the one that comes along.
        rows: how many of the track to use, those that differ most.
        size_px: side of the frames of a model that makes any size.

    Raises:
        SourceError: no photo can be used, or none is given and there is no example.
        ConfigError: the track cannot be read, or no row of it has a face.
        BundleError: the bundle wants what this version has not.
        EngineError: the bundle's graph for photos does not run.
    """
    values = spread(_present(read_csv(track or TRACK), track or TRACK), rows)
    if bundle.attribute_scale == "openface":
        values = to_openface(values)
    family = open_family(bundle)
    prepared = list(_prepared(bundle, family, photos or _example(), size_px))
    if not prepared:
        raise SourceError(
            f"none of {len(photos) or 1} photos has a face that can be used; give others, where one is seen from the "
            "front"
        )
    return Samples(
        family=family,
        sources=tuple(source for source, _ in prepared),
        crops=tuple(crop for _, crop in prepared if crop),
        cache_names=tuple(spec.name for spec in bundle.graph.cache),
        motion_names=tuple(spec.name for spec in bundle.graph.motion),
        attributes=values,
    )


def spread(values: FloatArray, count: int) -> FloatArray:
    """The `count` rows (n, 20) that differ most, in their order; all where there are not more.

    Each is the one farthest from those chosen before it; the first is the farthest from a neutral face. So extremes
    come first, however short they last: a blink is three frames of a hundred.
    """
    if len(values) <= count:
        return values
    distances = np.linalg.norm(values - neutral(), axis=1)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(values - values[chosen[-1]], axis=1))
        distances[chosen] = -1.0  # also where a row is there twice
    return np.asarray(values[sorted(chosen)])


def _present(track: AttributeTrack, path: Path) -> FloatArray:
    if not track.present.any():
        raise ConfigError(f"no row of {path} has a face; record another with icface-live --record-attributes")
    return track.values[track.present]


def _example() -> tuple[Path, ...]:
    if not EXAMPLE_PHOTO.is_file():
        raise SourceError("no photo is given, and the example's is only in a checkout; give photos of faces")
    return (EXAMPLE_PHOTO,)


def _prepared(
    bundle: Bundle, family: Family, photos: Sequence[Path], size_px: int
) -> Iterator[tuple[Tensors, Tensors]]:
    """What the family makes of each photo, and what the `neutralise` graph was given for it."""
    with closing(open_detector(video=False, max_faces=MAX_FACES)) as detector:
        for path in photos:
            try:
                yield _prepare(bundle, family, detector, path, size_px)
            except SourceError as error:
                logger.warning("%s is left out: %s", path.name, error)


def _prepare(
    bundle: Bundle, family: Family, detector: LandmarkDetector, path: Path, size_px: int
) -> tuple[Tensors, Tensors]:
    frame = load_photo(path).frame
    given: Tensors = {}

    def neutralised(inputs: Mapping[str, NDArray[Any]]) -> Tensors:
        given.update(inputs)
        # By name: `auto` might take an engine of lower precision.
        return neutralise("onnxruntime", bundle, inputs)

    face = choose_face(detector.detect(frame), path, None)
    own_px = size_px if bundle.size_px is None else bundle.size_px
    made = family.prepare(frame, face, detector=detector, neutralise=neutralised, size_px=own_px)
    return made, given
