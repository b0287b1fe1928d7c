"""Pairs of moving people: frames of clips, and rendered avatars that show what photos lack."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from icface.arrays import Array, Frame
from icface.attributes import FloatArray
from icface.errors import SourceError
from training.pairs.kinds import Told, Work
from training.pairs.pictures import unusable
from training.pairs.records import record
from training.pairs.seen import Seen, as_seen, look, mouth_gap
from training.preparation.clips import Clip, frames_of

MOST_FRAMES: Final = 1000
CLIP_SOURCES: Final = 2
"""Calm frames of a clip that are its sources."""
CLIP_BLINKS, CLIP_OPEN, CLIP_OTHERS = 4, 8, 6
"""Frames of a clip that are targets: the most closed eyes, the widest mouths, and any."""
APART: Final = 2
"""Targets of a kind are at least so many frames apart."""

AVATAR_PX, AVATAR_HEAD_PX = 400, 235.0
AVATAR_VIEWS: Final = 2
"""Each avatar is seen in so many lights, before different backgrounds."""
# What each picture of an avatar shows: morph targets at their most, and turns in degrees at their most.
ACTS: Final[tuple[tuple[dict[str, float], tuple[float, float, float]], ...]] = (
    ({"MouthOpen": 1.5}, (0, 0, 0)),
    ({"MouthOpen": 1.3, "RsmileOpen": 0.8, "LsmileOpen": 0.8}, (0, 0, 0)),
    ({"RsmileOpen": 1.0, "LsmileOpen": 1.0, "RlipDown": 0.5, "LlipDown": 0.5}, (0, 12, 0)),
    ({"MouthOpen": 0.8, "OutMiddle_tg": 1.0}, (0, 0, 0)),
    ({"ReyeClose": 0.55, "LeyeClose": 0.55}, (0, 0, 0)),
    ({"ReyeClose": 1.2, "LeyeClose": 1.2}, (0, 0, 0)),
    ({"ReyeClose": 0.8, "LeyeClose": 0.8, "MouthOpen": 0.5}, (8, 0, 0)),
    ({"RsmileClose": 1.1, "LsmileClose": 1.1}, (0, 18, 0)),
    ({"UH_OO": 0.9, "MouthOpen": 0.4}, (0, 0, 0)),
    ({"RbrowUp": 1.0, "LbrowUp": 1.0, "ReyeOpen": 0.9, "LeyeOpen": 0.9, "MouthOpen": 0.6}, (0, 0, 8)),
    ({"RbrowDown": 1.0, "LbrowDown": 1.0, "Rdisgust": 0.8, "Ldisgust": 0.8}, (0, 0, 0)),
)


def clip_pairs(work: Work, files: tuple[str, ...], photos: Path) -> Told:
    """Calm frames of each clip, driven to its other frames."""
    for name in files:
        clip = Clip(name=name, identity=work.identity, video=name, path=photos / name)
        frames: list[tuple[int, Seen]] = []
        try:
            for number, (picture, _) in enumerate(frames_of(clip, 60.0, MOST_FRAMES)):
                for face in work.detector.detect(picture)[:1]:
                    frames.append((number, as_seen(picture, face)))
        except SourceError as error:
            yield f"{name}: {error}"
        usable = [(number, seen) for number, seen in frames if not unusable(work.set, seen)]
        if len(usable) < CLIP_SOURCES + 1:
            yield f"{name}: {len(frames)} frames with a face, {len(usable)} of them usable"
            continue
        yield from _pairs_of_clip(work, name, usable)


def _pairs_of_clip(work: Work, name: str, frames: list[tuple[int, Seen]]) -> Told:
    closed = np.array([seen.attribute("AU45") for _, seen in frames])
    gaps = np.array([mouth_gap(seen) for _, seen in frames])
    smiles = np.array([seen.attribute("AU12") for _, seen in frames])
    calm = _spread(closed + 5 * gaps + smiles, CLIP_SOURCES, 5 * APART)
    targets = [*_spread(-closed, CLIP_BLINKS, APART), *_spread(-gaps, CLIP_OPEN, APART)]
    targets += work.rng.choice(len(frames), min(CLIP_OTHERS, len(frames)), replace=False).tolist()
    sources = [(frames[i][0], work.source(frames[i][1])) for i in calm]
    count = 0
    for j in dict.fromkeys(targets):
        number, seen = frames[j]
        for source_number, source in sources:
            if number == source_number:
                continue
            count += 1
            noise = work.noise(count % 2 == 0)
            onto = source.onto(seen)
            shown = source.driven_to(seen, onto, noise)
            words = work.words(f"{name}#{number}", f"{name}#{source_number}", noise)
            yield record(source, shown, seen, onto, words, match_colour=True)


def _spread(values: Array, count: int, apart: int) -> list[int]:
    """The places of the lowest values that lie at least `apart` places from each other."""
    chosen: list[int] = []
    for place in np.argsort(values, kind="stable").tolist():
        if len(chosen) < count and all(abs(place - other) >= apart for other in chosen):
            chosen.append(place)
    return chosen


def avatar_pairs(work: Work, files: tuple[str, ...], photos: Path) -> Told:
    """An avatar without expression, driven to its pictures with one, and back, in the same light."""
    from training.avatars.glb import load_avatar  # needs decoders that photos do not
    from training.avatars.render import Performance, Studio

    for name in files:
        avatar = load_avatar(photos / name)
        for light in range(AVATAR_VIEWS):
            rng = np.random.default_rng([work.config.seed, zlib.crc32(name.encode()), light])
            studio = Studio(avatar, random_view(rng))
            pictures: list[tuple[str, Frame]] = [("neutral", studio.frame(Performance()))]
            for number, (morphs, turns_deg) in enumerate(ACTS):
                amount = rng.uniform(0.55, 1.0)
                turns = np.radians(turns_deg) * rng.uniform(-1, 1, 3)
                pose = dict(zip(("pitch_rad", "yaw_rad", "roll_rad"), turns.tolist(), strict=True))
                shown = {target: float(weight * amount) for target, weight in morphs.items()}
                pictures.append((f"act {number}", studio.frame(Performance(morphs=shown, **pose))))
            yield from _pairs_of_avatar(work, f"{name}#{light}", pictures)


def _pairs_of_avatar(work: Work, name: str, pictures: list[tuple[str, Frame]]) -> Told:
    seen: list[tuple[str, Seen]] = []
    for what, picture in pictures:
        try:
            seen.append((f"{name} {what}", look(picture, work.detector)))
        except SourceError as error:
            yield f"{name} {what}: {error}"
    if not seen or not seen[0][0].endswith("neutral"):
        return
    neutral = work.source(seen[0][1])
    for count, (what, target) in enumerate(seen[1:]):
        noise = work.noise(count % 2 == 1)
        onto = neutral.onto(target)
        shown = neutral.driven_to(target, onto, noise)
        yield record(neutral, shown, target, onto, work.words(what, seen[0][0], noise), match_colour=False)
        if count % 2:  # and back
            source = work.source(target)
            onto = source.onto(seen[0][1])
            shown = source.driven_to(seen[0][1], onto)
            words = work.words(seen[0][0], what, None)
            yield record(source, shown, seen[0][1], onto, words, match_colour=False)


def random_view(rng: np.random.Generator) -> Any:
    """A camera, a background and a light of its own."""
    from training.avatars.render import View

    top = rng.integers(50, 200, 3)
    bottom = np.clip(top + rng.integers(-50, 20, 3), 20, 220)
    key: FloatArray = rng.uniform([-0.6, 0.3], [0.6, 0.7]).astype(np.float32)
    return View(
        width_px=AVATAR_PX,
        height_px=AVATAR_PX,
        head_px=AVATAR_HEAD_PX,
        background=(tuple(map(int, top)), tuple(map(int, bottom))),  # type: ignore[arg-type]
        key_direction=(float(key[0]), float(key[1]), 0.75),
        grain=float(rng.uniform(0.3, 1.2)),
    )
