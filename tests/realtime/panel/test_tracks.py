"""Recorded tracks: played on the pictures' clock, edited, saved beside the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from icface.attributes import INDEX, SIZE, AttributeTrack, neutral
from icface.errors import ConfigError
from realtime.drivers.table import load_table
from realtime.panel.player import Player
from realtime.panel.tracks import Tracks, free, packed, write_track

SMILE = INDEX["AU12"]


def track(rows: int = 5, fps: float = 10.0) -> AttributeTrack:
    """A smile that grows by .1 a row."""
    values = np.tile(neutral(), (rows, 1))
    values[:, SMILE] = np.arange(rows) / 10
    return AttributeTrack(times_s=np.arange(rows) / fps, values=values, present=np.ones(rows, np.bool_))


@pytest.fixture
def tracks(tmp_path: Path) -> Tracks:
    write_track(tmp_path / "talk.csv", track())
    return Tracks(tmp_path)


def smile(player: Player, time_s: float) -> float:
    return round(float(player(time_s)[SMILE]), 3)


def test_a_track_plays_on_the_pictures_clock_and_starts_again() -> None:
    player = Player(track())
    assert [smile(player, 100.0 + t) for t in (0.0, 0.05, 0.1, 0.35, 0.45, 0.5, 0.61)] == [
        0.0, 0.0, 0.1, 0.3, 0.4, 0.0, 0.1,
    ]  # fmt: skip


def test_a_track_rests_moves_and_goes_on_from_there() -> None:
    player = Player(track(), playing=False)
    assert (smile(player, 1.0), smile(player, 9.0)) == (0.0, 0.0)
    player.seek(0.3)
    assert (smile(player, 10.0), player.position_s) == (0.3, 0.3)
    player.play()
    assert (smile(player, 20.0), smile(player, 20.1)) == (0.3, 0.4)
    player.play(False)
    assert smile(player, 30.0) == 0.4
    player.seek(99.0)
    assert smile(player, 31.0) == 0.4, "no farther than the end"


def test_a_part_is_repeated_and_then_all_again() -> None:
    player = Player(track())
    player.loop(0.1, 0.3)
    assert [smile(player, 10.0 + t) for t in (0.0, 0.1, 0.2, 0.31, 0.4)] == [0.0, 0.1, 0.2, 0.1, 0.2]
    player.seek(0.4)
    assert smile(player, 20.0) == 0.2, "from outside it goes on inside"
    for from_s, to_s in ((0.3, 0.1), (0.2, 0.2), (9.0, 9.5), (float("nan"), 0.2)):
        with pytest.raises(ConfigError, match="no part of the track"):
            player.loop(from_s, to_s)
    assert player.loop_s == (0.1, 0.3), "what is refused changes nothing"
    player.loop(None, None)
    player.seek(0.3)
    assert [smile(player, 30.0 + t) for t in (0.0, 0.1, 0.2)] == [0.3, 0.4, 0.0]


def test_an_edit_is_seen_at_once() -> None:
    player = Player(track(), playing=False)
    player.seek(0.2)
    edited = track()
    edited.values[2, SMILE] = 0.9
    player.edit(edited)
    assert smile(player, 1.0) == 0.9


def test_an_edited_curve_is_saved_beside_the_recording(tracks: Tracks, tmp_path: Path) -> None:
    before = (tmp_path / "talk.csv").read_bytes()
    assert tracks.save("talk") == "talk", "nothing was edited"
    tracks.edit("talk", "AU12", 1, [0.5, 2.0])
    assert tracks.save("talk") == "talk edit 1"
    assert (tmp_path / "talk.csv").read_bytes() == before
    saved = load_table(tmp_path / "talk edit 1.csv")
    assert np.allclose(saved.values[:, SMILE], [0.0, 0.5, 1.0, 0.3, 0.4])
    assert np.allclose(tracks.get("talk").values[:, SMILE], track().values[:, SMILE])
    tracks.edit("talk edit 1", "AU12", 0, [0.2])
    assert tracks.save("talk edit 1") == "talk edit 2"
    assert set(tracks.names()) == {"talk", "talk edit 1", "talk edit 2"}


def test_a_track_with_the_longest_name_is_saved_under_a_shorter_one(tracks: Tracks, tmp_path: Path) -> None:
    name = "t" * 60
    write_track(tmp_path / f"{name}.csv", track())
    tracks.edit(name, "AU12", 1, [0.7])
    saved = tracks.save(name)
    assert saved == "t" * 50 + " edit 1"
    assert tracks.get(saved).values[1, SMILE] == np.float32(0.7)


def test_a_link_that_leads_nowhere_is_no_track(tracks: Tracks, tmp_path: Path) -> None:
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    assert tracks.names() == ["talk"]
    assert free(tmp_path / "gone.csv") == tmp_path / "gone (2).csv", "the link stays"


@pytest.mark.parametrize(
    ("name", "attribute", "start", "values", "reason"),
    [
        ("talk", "AU99", 0, [0.1], "no attribute 'AU99'"),
        ("talk", "AU12", 4, [0.1, 0.2], "rows 4 to 6 of talk: it has 5"),
        ("talk", "AU12", -1, [0.1], "rows -1 to 0"),
        ("talk", "AU12", 0, [float("nan")], "no numbers"),
        ("walk", "AU12", 0, [0.1], "there is no track 'walk'"),
        ("../talk", "AU12", 0, [0.1], "is no name for a track"),
        (".hidden", "AU12", 0, [0.1], "is no name for a track"),
    ],
)
def test_an_edit_that_cannot_be_is_refused(
    tracks: Tracks, name: str, attribute: str, start: int, values: list[float], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        tracks.edit(name, attribute, start, values)
    assert np.array_equal(tracks.get("talk").values[:, SMILE], track().values[:, SMILE])


def test_the_page_gets_a_track_as_packed_numbers() -> None:
    content = packed(track())
    rows, size = np.frombuffer(content[:8], "<u4")
    assert (rows, size) == (5, SIZE)
    times = np.frombuffer(content[8:28], "<f4")
    values = np.frombuffer(content[28:], "<f4").reshape(5, SIZE)
    assert np.allclose(times, track().times_s) and np.allclose(values, track().values)
