"""From parts to a data set: who is for testing, every person's neutral, attributes, shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icface.attributes import AU_NAMES
from icface.errors import ConfigError
from icface.face.action_units import Baseline, population
from training.preparation.calibrate import Measured, attributes_of, learn_baseline
from training.preparation.clips import Clip
from training.preparation.index import Index, Shard
from training.preparation.parts import Part, hand_over, load_part, part_path, shards_relied_on
from training.preparation.shards import TrackData, write_dataset


def split_identities(identities: Sequence[str], test_share: float, seed: int) -> dict[str, tuple[str, ...]]:
    """Who is trained on and who is tested on; hardly changes when identities come or go.

    Args:
        identities: each once.
        test_share: of the identities; both sides get at least one where there are two and the share is not 0.
        seed: another one, another split.
    """
    drawn = sorted(identities, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    tested = round(len(drawn) * test_share)
    if test_share > 0 and len(drawn) > 1:
        tested = min(max(tested, 1), len(drawn) - 1)
    return {"train": tuple(sorted(drawn[tested:])), "test": tuple(sorted(drawn[:tested]))}


def split_by_name(identities: Sequence[str], patterns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Who is tested on is told.

    Args:
        identities: each once.
        patterns: of names, as `id0*`.

    Raises:
        ConfigError: a pattern fits nobody, or they leave nobody to train on.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in identities):
            raise ConfigError(
                f"--test-identity {pattern}: there is no such person; there are {', '.join(sorted(identities)[:5])} …"
            )
    tested = {name for name in identities if any(fnmatchcase(name, pattern) for pattern in patterns)}
    if len(tested) == len(identities):
        raise ConfigError("--test-identity leaves nobody to train on")
    return {"train": tuple(sorted(set(identities) - tested)), "test": tuple(sorted(tested))}


def pack(
    out: Path,
    clips: Sequence[Clip],
    *,
    size_px: int,
    test_share: float,
    test_identities: Sequence[str] = (),
    seed: int,
    shard_bytes: int,
    clean: bool = False,
) -> Index:
    """Write the data set of clips whose parts hold a track.

    Args:
        out: its folder, where the parts are.
        clips: that are used.
        size_px: of the crops.
        test_share: of the persons; see `split_identities`.
        test_identities: patterns of names instead; see `split_by_name`.
        seed: of the split and the order.
        shard_bytes: when another shard is begun.
        clean: parts let go of their pictures as soon as these lie in shards.

    Raises:
        ConfigError: there is no such clip, or nobody of such a name; pictures that cannot be read any more.
        OSError: it cannot be written.
    """
    if not clips:
        raise ConfigError("no clip has a face that can be used; skipped.json says why")
    baselines = learn_baselines(out, clips)
    # Persons with clips and portraits are split apart, so that both sides get some of each.
    moving = {clip.identity for clip in clips if not clip.is_portrait}
    groups = (sorted(moving), sorted({clip.identity for clip in clips} - moving))
    if test_identities:
        halves = [split_by_name([name for group in groups for name in group], test_identities)]
    else:
        halves = [split_identities(group, test_share, seed) for group in groups]
    splits = {name: tuple(one for half in halves for one in half[name]) for name in ("train", "test")}
    # Persons are mixed, so that reading shards from front to back gives many of them soon.
    order = sorted(clips, key=lambda clip: hashlib.sha256(f"{seed}:{clip.name}".encode()).digest())
    sources: set[str] = set()
    handover = _Handover(out)
    tracks = _tracks(out, order, baselines, sources, handover, clean)
    # The source is known only when all tracks have been read, and the index is written after that.
    return write_dataset(
        out,
        tracks,
        splits=splits,
        size_px=size_px,
        attribute_source=lambda: sources.pop() if len(sources) == 1 else "mixed",
        seed=seed,
        shard_bytes=shard_bytes,
        stored=handover,
        in_use=lambda: shards_relied_on(out),
    )


class _Handover:
    """Lets parts go of pictures that lie in shards: having all of them twice would take twice the disk.

    A part is changed only when the shards of all of its tracks are on the disk, so that at any moment every picture is
    in one place at least, and a run that is stopped loses none.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._expected: dict[str, int] = {}
        self._found: dict[str, list[tuple[Shard, NDArray[np.int64]]]] = {}

    def expect(self, clip: str, tracks: int) -> None:
        """A clip's part will be handed over with its last track."""
        self._expected[clip] = tracks

    def __call__(self, shard: Shard, places: Mapping[str, NDArray[np.int64]]) -> None:
        """See `training.preparation.shards.Stored`."""
        for track, rows in places.items():
            clip = track.rpartition("#")[0]
            if clip not in self._expected:
                continue
            found = self._found.setdefault(clip, [])
            found.append((shard, rows))
            if len(found) == self._expected[clip]:
                hand_over(part_path(self._out, clip), self._found.pop(clip))


def learn_baselines(out: Path, clips: Sequence[Clip]) -> dict[tuple[str, str], Baseline]:
    """The neutral of each (identity, video): the video's, leaning on the person's, leaning on the population's."""
    people: dict[str, dict[str, list[Clip]]] = {}
    for clip in clips:
        people.setdefault(clip.identity, {}).setdefault(clip.video, []).append(clip)
    baselines = {}
    for identity, videos in people.items():
        seen: dict[str, list[Measured]] = {
            video: [load_part(part_path(out, clip.name), pictures=False).measured for clip in group]
            for video, group in videos.items()
        }
        own = learn_baseline([clip for group in seen.values() for clip in group], population())
        for video, group in seen.items():
            baselines[identity, video] = own if len(seen) == 1 else learn_baseline(group, own)
    return baselines


def _tracks(
    out: Path,
    clips: Sequence[Clip],
    baselines: dict[tuple[str, str], Baseline],
    sources: set[str],
    handover: _Handover,
    clean: bool,
) -> Iterator[TrackData]:
    for clip in clips:
        part = load_part(part_path(out, clip.name), pictures=True)
        sources.add("tracker" if part.openface is None else "openface")
        # The shards that it was handed over to before are those of a data set that is being replaced.
        if clean or part.handed_over:
            handover.expect(clip.name, part.info.tracks)
        yield from tracks_of(part, clip, baselines[clip.identity, clip.video])


def tracks_of(part: Part, clip: Clip, baseline: Baseline) -> Iterator[TrackData]:
    """The tracks of a part with their attributes."""
    values = part.openface if part.openface is not None else attributes_of(part.measured, baseline)
    presence = part.presence
    if presence is None:
        presence = np.full((len(values), len(AU_NAMES)), -1, dtype=np.int8)
    for number in range(part.info.tracks):
        mask = part.track == number
        rows = np.flatnonzero(mask)
        yield TrackData(
            name=f"{clip.name}#{number}",
            identity=clip.identity,
            video=clip.video,
            fps=part.info.fps,
            jpegs=[part.jpegs[row] for row in rows],
            attributes=values[rows],
            times_s=part.measured.times_s[rows].astype(np.float32),
            presence=presence[rows],
        )
