"""Makes a data set of parts: learns every neutral face, writes attributes and shards."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from icface.attributes import AU_NAMES, in_range, to_openface
from icface.errors import ConfigError
from icface.face.action_units import Baseline, population
from training.dataset.index import Index, Scale, Shard, Source, Track
from training.dataset.writing import TrackData, remove_leftovers, write_dataset
from training.preparation.calibrate import Measured, attributes_of, learn_baseline
from training.preparation.clips import Clip
from training.preparation.parts import Part, hand_over, load_part, part_path, shards_relied_on
from training.preparation.split import Wanted, split_clips


def pack(
    out: Path,
    clips: Sequence[Clip],
    *,
    size_px: int,
    wanted: Wanted,
    seed: int,
    attribute_scale: Scale,
    shard_bytes: int,
    clean: bool,
) -> Index:
    """Write the data set of clips whose parts hold a track. An earlier one stays whole until the new one is there.

    Args:
        out: folder of the data set, where the parts are.
        wanted: who is kept from training.
        seed: of the split and the order.
        attribute_scale: of the data set; measurements of our tracker are converted to it.
        shard_bytes: see `write_dataset`.
        clean: parts give up their pictures as soon as these lie in shards.

    Raises:
        ConfigError: there is no clip, the persons cannot be split so, or pictures cannot be read any more.
        OSError: it cannot be written.
    """
    if not clips:
        raise ConfigError("no clip has a face that can be used; skipped.json says why")
    baselines, sources = _first_look(out, clips)
    splits = split_clips(clips, wanted, seed)
    # Persons are mixed, so that reading shards from front to back gives many of them soon.
    order = sorted(clips, key=lambda clip: hashlib.sha256(f"{seed}:{clip.name}".encode()).digest())
    groups = (
        tracks_of(
            load_part(part_path(out, clip.name), pictures=True),
            clip,
            baselines[clip.identity, clip.video],
            attribute_scale,
        )
        for clip in order
    )

    def stored(shard: Shard, tracks: Sequence[Track]) -> None:
        # Two copies of all pictures would take twice the disk. A part gives its own up only after its shard is on the
        # disk. So every picture is in one place at least at any moment, and a run that is stopped loses none.
        batches: dict[str, list[int]] = defaultdict(list)
        for number, track in enumerate(tracks):
            batches[track.name.rpartition("#")[0]].append(number)
        for name, numbers in batches.items():
            hand_over(part_path(out, name), shard, numbers, clean=clean)

    remove_leftovers(out, shards_relied_on(out))
    try:
        return write_dataset(
            out,
            groups,
            splits=splits,
            size_px=size_px,
            attribute_source=sources.pop() if len(sources) == 1 else "mixed",
            seed=seed,
            attribute_scale=attribute_scale,
            shard_bytes=shard_bytes,
            stored=stored,
        )
    finally:
        # Either the old or the new data set stays, and the room of the other one is needed.
        remove_leftovers(out, shards_relied_on(out))


def _first_look(out: Path, clips: Sequence[Clip]) -> tuple[dict[tuple[str, str], Baseline], set[Source]]:
    """The neutral of each (identity, video), and where attributes come from.

    A video's neutral leans on the person's, which leans on the population's.
    """
    people: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        people[clip.identity].append(clip)
    baselines: dict[tuple[str, str], Baseline] = {}
    sources: set[Source] = set()
    for identity, group in people.items():
        videos: dict[str, list[Measured]] = defaultdict(list)
        for clip in group:
            part = load_part(part_path(out, clip.name), pictures=False)
            videos[clip.video].append(part.measured)
            sources.add("tracker" if part.openface is None else "openface")
        own = learn_baseline([one for measured in videos.values() for one in measured], population())
        for video, measured in videos.items():
            baselines[identity, video] = own if len(videos) == 1 else learn_baseline(measured, own)
    return baselines, sources


def tracks_of(part: Part, clip: Clip, baseline: Baseline, scale: Scale = "full-shape") -> list[TrackData]:
    """The tracks of a part with their attributes."""
    values = attributes_of(part.measured, baseline) if part.openface is None else part.openface
    values = in_range(to_openface(values) if scale == "openface" else values)
    presence = part.presence
    if presence is None:
        presence = np.full((len(values), len(AU_NAMES)), -1, dtype=np.int8)
    rows_of = np.split(np.arange(len(values)), np.flatnonzero(np.diff(part.track)) + 1)
    return [
        TrackData(
            name=f"{clip.name}#{number}",
            identity=clip.identity,
            video=clip.video,
            fps=part.info.fps,
            jpegs=[part.jpegs[row] for row in rows],
            attributes=values[rows],
            times_s=part.measured.times_s[rows].astype(np.float32),
            presence=presence[rows],
        )
        for number, rows in enumerate(rows_of)
    ]
