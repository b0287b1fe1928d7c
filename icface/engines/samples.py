"""What graphs see in use: photos, and attributes that move them. INT8 is scaled on them, and every precision is compared
on them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from icface.arrays import Tensors
from icface.attributes import FloatArray, neutral, to_openface
from icface.bundle import Bundle
from icface.engines.backends.onnxruntime import runner
from icface.errors import ConfigError, SourceError
from icface.face.landmarks import open_detector
from icface.face.photo import faces_of, put_upright, without_far
from icface.face.suitability import MAX_FACES, choose_face
from icface.families import Family, Means, open_family
from icface.images import load_photo
from icface.tables import read_csv
from icface.variants import Variant

logger = logging.getLogger(__name__)

TRACK: Final = Path(__file__).parent / "data" / "track.csv"
"""examples/driver.mp4 as the product recorded it, 120 of its 240 rows: blinks, talking, 17° of yaw each way."""
EXAMPLE_PHOTO: Final = Path(__file__).resolve().parents[2] / "examples" / "rendered.jpg"
"""A checkout has it, the installed package has not."""
ROWS: Final = 120
SIZE_PX: Final = 256
"""Side of the frames of models that make any size: enough for their faces to be measured."""


@dataclass(frozen=True)
class Samples:
    """Prepared photos, and the rows of attributes that move them. The photos take turns from row to row.

    `collect` makes them. Every walk over the samples gives them anew, in the same order.
    """

    family: Family
    sources: tuple[Tensors, ...]
    """What the family prepared of each photo: the cache tensors, and what its motion reads."""
    graph: Variant
    """What is fed."""
    attributes: FloatArray
    """(n, SIZE) on the bundle's scale."""

    def __len__(self) -> int:
        return len(self.attributes)

    def feeds(self) -> Iterator[Tensors]:
        """All inputs of the graph that makes frames, sample by sample. The cache tensors are shared, the others not."""
        rigs = [self.family.rig(source, False) for source in self.sources]
        for number, row in enumerate(self.attributes):
            turn = number % len(self.sources)
            moved = rigs[turn].motion(row)
            cache = {spec.name: np.asarray(self.sources[turn][spec.name]) for spec in self.graph.cache}
            yield cache | {spec.name: moved[spec.name].copy() for spec in self.graph.motion}


def collect(
    bundle: Bundle, photos: Sequence[Path] = (), track: Path | None = None, *, rows: int = ROWS
) -> Samples:
    """Prepare photos and choose rows of a track.

    Args:
        bundle: the model that the samples are for.
        photos: of faces; without any, the example's, where this is a checkout. A photo without a face that can be used
            is left out, with a warning.
        track: a CSV of `icface-live --record-attributes` or of OpenFace; None takes the one that ships.
        rows: how many rows of the track to use, those that differ most.

    Raises:
        SourceError: no photo can be used, or none is given and there is no example.
        ConfigError: the track cannot be read, or no row of it has a face.
        EngineError: the bundle's graph for photos does not run.
    """
    recorded = read_csv(track or TRACK)
    values = spread(recorded.values[recorded.present], rows)
    if not len(values):
        advice = "record another with icface-live --record-attributes"
        raise ConfigError(f"no row of {track or TRACK} has a face; {advice}")
    if bundle.attribute_scale == "openface":
        values = to_openface(values)
    if not photos and not EXAMPLE_PHOTO.is_file():
        raise SourceError("no photo is given, and only a checkout has the example's; give photos of faces")
    photos = photos or (EXAMPLE_PHOTO,)

    def neutralise(inputs: Tensors) -> Tensors:
        assert bundle.neutralise is not None  # a family that needs it has checked that
        return runner(bundle.file(bundle.neutralise.graph))(inputs)

    family = open_family(bundle)
    sources: list[Tensors] = []
    with closing(open_detector(video=False, refined=True, max_faces=MAX_FACES)) as detector:
        means = Means(detector, neutralise, bundle.size_px or SIZE_PX)
        for photo in photos:
            try:
                frame = load_photo(photo).frame
                frame, face = put_upright(*without_far(frame, choose_face(faces_of(frame), photo, None)))
                sources.append(family.prepare(frame, face, means))
            except SourceError as error:
                logger.warning("%s is left out: %s", photo.name, error)
    if not sources:
        advice = "give others, where one is seen from the front"
        raise SourceError(f"none of {len(photos)} photos has a face that can be used; {advice}")
    return Samples(family, tuple(sources), bundle.graph, values)


def spread(values: FloatArray, count: int) -> FloatArray:
    """The `count` rows (n, SIZE) that differ most, in their order; all where there are not more.

    Each is the one farthest from those chosen before it. The first one is the farthest from a neutral face. So extremes
    are chosen however short they last: a blink is three frames of a hundred.
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
