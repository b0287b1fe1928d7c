"""Newest-only and in-order hand-over."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from realtime.slot import Closed, Lane, Slot, filling


def test_a_slot_keeps_the_newest_only() -> None:
    slot: Slot[int] = Slot()
    for item in (1, 2, 3):
        slot.put(item)
    assert slot.get(0) == 3
    assert slot.get(0) is None


def test_a_lane_keeps_all_in_order_and_makes_the_producer_wait() -> None:
    lane: Lane[int] = Lane(2)

    def produce() -> None:
        for item in (1, 2, 3):
            lane.put(item)

    producer = threading.Thread(target=produce)
    producer.start()
    producer.join(0.2)
    assert producer.is_alive(), "there is no room"
    assert lane.get(30) == 1
    producer.join(30)
    assert [lane.get(0), lane.get(0), lane.get(0)] == [2, 3, None]


def test_waiting_leaves_the_item_there() -> None:
    slot: Slot[int] = Slot()
    assert not slot.wait(0)
    slot.put(1)
    assert slot.wait(0) and slot.get(0) == 1
    slot.close()
    with pytest.raises(Closed):
        slot.wait(0)


@pytest.mark.parametrize("make", [Slot, lambda: Lane(3)])
def test_closing_lets_what_waits_through_first(make: Callable[[], Lane[int]]) -> None:
    lane = make()
    lane.put(7)
    lane.close()
    with pytest.raises(Closed):
        lane.put(8)
    assert lane.get(0) == 7
    with pytest.raises(Closed):
        lane.get(0)


def test_the_producers_exception_is_raised_in_the_consumer_and_the_first_one_counts() -> None:
    slot: Slot[int] = Slot()
    slot.put(1)
    slot.close(ValueError("first"))
    slot.close(ValueError("second"))
    assert slot.get(0) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            slot.get(0)


def test_a_waiting_consumer_wakes_up_for_an_item_and_for_the_end() -> None:
    slot: Slot[int] = Slot()
    got: list[object] = []

    def consume() -> None:
        try:
            while True:
                got.append(slot.get(30))
        except Closed:
            got.append("end")

    thread = threading.Thread(target=consume)
    thread.start()
    slot.put(5)
    while not got:
        assert thread.is_alive()
    slot.close()
    thread.join(30)
    assert got == [5, "end"]


def test_a_waiting_producer_wakes_up_when_there_is_room_and_when_the_consumer_leaves() -> None:
    lane: Lane[int] = Lane(1)
    lane.put(1)
    done: list[object] = []

    def produce() -> None:
        lane.put(2)
        done.append("room")
        try:
            lane.put(3)
        except Closed:
            done.append("closed")

    thread = threading.Thread(target=produce)
    thread.start()
    assert lane.get(30) == 1
    while not done:
        assert thread.is_alive()
    lane.close()
    thread.join(30)
    assert done == ["room", "closed"]


def test_the_top_of_a_thread_closes_its_lane_and_keeps_what_ended_it() -> None:
    lanes: list[Lane[int]] = [Lane(3) for _ in range(3)]
    with filling(lanes[0]):
        lanes[0].put(1)
    with filling(lanes[1]):
        raise ValueError("defect")
    with filling(lanes[2]):
        raise Closed  # what it reads from, or its consumer, has ended
    assert lanes[0].get(0) == 1
    for lane, ending in zip(lanes, (Closed, ValueError, Closed), strict=True):
        with pytest.raises(ending):
            lane.get(0)
