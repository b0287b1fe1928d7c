"""The kinds of pairs: how each is made from the pictures of one person.

Each function gives records, and says why where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from icface.arrays import Frame
from icface.attributes import AU_NAMES, INDEX, FloatArray, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines import neutralise
from icface.errors import SourceError
from icface.face.landmarks import LandmarkDetector
from icface.geometry.calming import painted
from icface.geometry.renewal import renewed
from training.pairs.pictures import Picture, is_listed
from training.pairs.records import Record, record
from training.pairs.seen import Seen, look, mouth_gap
from training.pairs.settings import PairsConfig, SetConfig
from training.pairs.source import Source, then

NEUTRAL: Final = neutral()
AS_IT_IS: Final = np.eye(2, 3)
"""An affine (2, 3) that leaves places where they are."""
Told = Iterator[Record | str]
"""Records, and reasons why there is none."""
SMILE_GAP_IOD: Final = 0.055
"""A mouth that is open so far shows enough of its teeth to be opened further."""
FINER: Final = 1.6
"""Photos of which other pictures are made are prepared at most so many times as fine as frames."""
SHUT: Final = 0.5
OPEN: Final = 0.2
"""A source whose AU45 is above SHUT does not show the eyes that a target with less, by so much, has."""
OPENED: Final = 3
"""Pairs that are made of one smile."""


class Work:
    """What all kinds need: settings, the detector, and numbers drawn for this job alone."""

    def __init__(
        self,
        config: PairsConfig,
        set_config: SetConfig,
        identity: str,
        detector: LandmarkDetector,
        rng: np.random.Generator,
    ) -> None:
        self.config, self.set, self.identity = config, set_config, identity
        self.detector, self.rng = detector, rng

    def source(self, seen: Seen) -> Source:
        return Source(seen, self.detector, self.config.iod_px)

    def photo(self, seen: Seen) -> Source:
        """A photo of which other pictures are made: finer, so that they are not soft."""
        finest = FINER * self.config.iod_px
        iod_px = float(np.clip(seen.project.iod_px, self.config.iod_px, finest))
        return Source(seen, self.detector, iod_px, by_attributes=True)

    def noise(self, wanted: bool) -> FloatArray | None:
        """(17,) for every other pair; drawn for each, so that what comes after does not depend on it."""
        drawn = self.rng.normal(0, self.config.noise, len(AU_NAMES)).astype(np.float32)
        return drawn if wanted else None

    def words(self, target: str, source: str, noise: FloatArray | None) -> dict[str, Any]:
        return {
            "target": target,
            "source": source,
            "identity": self.identity,
            "kind": self.set.kind,
            "noise": 0.0 if noise is None else self.config.noise,
        }


def true_pairs(work: Work, pictures: list[Picture]) -> Told:
    """All ordered pairs of one person's photos."""
    if len(pictures) < 2:
        yield f"{pictures[0].name}: the person has no second photo" if pictures else "no photo"
        return
    sources = [_try(partial(work.source, each.seen)) for each in pictures]
    count = 0
    for i, source in enumerate(sources):
        if isinstance(source, str):
            yield f"{pictures[i].name}: {source}"
            continue
        for j, target in enumerate(pictures):
            if work.set.calm:
                if not is_listed(target.name, work.set.calm):
                    continue
            elif i != j and pictures[i].seen.attribute("AU45") > SHUT > target.seen.attribute("AU45") + OPEN:
                yield f"{pictures[i].name}: its eyes are shut, and those of {target.name} are open"
                continue
            for _ in range(work.set.repeats if i != j else 0):
                count += 1
                onto, alike = source.onto(target.seen), count % 2 == 0
                calmed = bool(work.set.calm) and alike  # as the product does, which does not know the target
                noise = None if work.set.calm else work.noise(alike)
                shown = (
                    source.calmed(target.seen.rotation)
                    if calmed
                    else source.driven_to(target.seen, onto, noise)
                )
                words = work.words(target.name, pictures[i].name, noise)
                yield record(source, shown, target.seen, onto, words, match_colour=True, lay=calmed)


def made_pairs(work: Work, pictures: list[Picture]) -> Told:
    """A photo with an expression, and as its source the same photo without one, made by geometry or painted by a network.

    By geometry once in the photo's own pose, so that hardly anything else moves, and once looking ahead, as a source is
    neutralised in the product. A network paints it in the photo's own pose; that counts twice, once with noise.
    """
    for picture in pictures:
        photo = work.photo(picture.seen)
        calm = None
        for number in range(2):
            noise = work.noise(number == 1)
            if not work.set.painted:
                attributes = NEUTRAL if number else photo.own_pose()
                source = _try(partial(_source_of, work, photo.by_attributes(attributes).frame))
                words, to_photo = "made neutral", photo.affine
            else:
                calm = calm or _try(partial(_painted_source, work, photo))
                source, words, to_photo = calm, "painted neutral", AS_IT_IS
            if isinstance(source, str):
                yield f"{picture.name}, {words}: {source}"
                if work.set.painted:  # the second would be the same
                    break
                continue
            to_picture = then(source.affine, to_photo)
            shown = source.driven_to(picture.seen, to_picture, noise)
            told = work.words(picture.name, f"{picture.name} {words}", noise)
            yield record(source, shown, picture.seen, to_picture, told, match_colour=False)


def opened_pairs(work: Work, pictures: list[Picture]) -> Told:
    """A smile that shows its teeth, opened by the geometry, and as its source the same photo made neutral."""
    for picture in pictures:
        gap = mouth_gap(picture.seen)
        if gap < SMILE_GAP_IOD:
            yield f"{picture.name}: it shows no teeth"
            continue
        photo = work.photo(picture.seen)
        if not photo.own_teeth:
            yield f"{picture.name}: its teeth are not kept"
            continue
        pose = photo.own_pose()
        source = work.source(look(photo.by_attributes(pose).frame, work.detector))
        for _ in range(OPENED):
            opened = photo.by_attributes(pose + _opening(work.rng))
            shape = source.shape_of(opened.shape, opened.rotation, photo.project, source.affine)
            shown = source.by_shape(shape, opened.rotation, source.own_gaze())
            # What is seen in the opened picture is known; its attributes are measured, as of any other.
            try:
                measured = look(opened.frame, work.detector)
            except SourceError as error:
                yield f"{picture.name}, opened: {error}"
                continue
            words = work.words(f"{picture.name} opened", f"{picture.name} made neutral", None)
            words["iod_px"] = float(picture.seen.project.iod_px)
            yield record(source, shown, measured, source.affine, words, match_colour=False)


def self_pairs(work: Work, pictures: list[Picture]) -> Told:
    """A photo to itself: what was right stays."""
    for picture in pictures:
        source = work.source(picture.seen)
        shown = source.driven_to(picture.seen, source.affine)
        words = work.words(picture.name, picture.name, None)
        yield record(source, shown, picture.seen, source.affine, words, match_colour=False)


def _opening(rng: np.random.Generator) -> FloatArray:
    """What opens a smile, added to neutral attributes."""
    values = np.zeros_like(NEUTRAL)
    for name, low, high, share in (
        ("AU12", 0.0, 0.6, 0.7), ("AU25", 0.3, 1.0, 1.0), ("AU26", 0.1, 1.0, 0.85),
        ("AU10", 0.0, 0.9, 0.6), ("AU20", 0.0, 0.3, 1.0),
    ):  # fmt: skip
        amount, drawn = rng.uniform(low, high), rng.random()
        values[INDEX[name]] = amount if drawn < share else 0.0
    return values


def _painted_source(work: Work, photo: Source) -> Source:
    run = partial(neutralise, "auto", _bundle(work.config.bundle))
    _, whole, _ = renewed(
        photo.cache,
        photo.seen.picture,
        photo.seen.landmarks,
        work.detector,
        partial(painted, run),
        whole_face=True,
    )
    if whole is photo.seen.picture:  # as it was: no face was found in what was painted
        raise SourceError("no face is seen in what the network painted")
    return _source_of(work, whole)


@cache
def _bundle(path: str) -> Bundle:
    """A bundle, or the one that ships."""
    return Bundle.load(Path(path) if path else DEFAULT_BUNDLE)


def _source_of(work: Work, rendered: Frame) -> Source:
    return work.source(look(rendered, work.detector))


def _try(make: Callable[[], Source]) -> Source | str:
    try:
        return make()
    except SourceError as error:
        return str(error)
