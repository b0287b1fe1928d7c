"""Pictures reach the pages that take them, and a page that does not take them costs the loop nothing."""

from __future__ import annotations

import json
import struct
import threading

import cv2
import numpy as np

from icface.attributes import SIZE, neutral
from realtime.control import Observation
from realtime.panel.pictures import LARGEST_PX, PanelSink
from realtime.panel.stream import IN_FLIGHT
from tests.realtime.panel.conftest import Running
from tests.realtime.panel.test_guard import open_stream

TIMEOUT_S = 10


def picture(value: int, width: int = 16, height: int = 16) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


class Page:
    """A page that reads when told to."""

    def __init__(self, running: Running) -> None:
        self._opening = open_stream(running)

    def __enter__(self) -> Page:
        self._socket = self._opening.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._opening.__exit__(None, None, None)

    def picture(self) -> tuple[dict, bytes]:  # type: ignore[type-arg]
        """The next picture's head and what follows it; texts are passed over."""
        while True:
            message = self._socket.recv(TIMEOUT_S)
            if isinstance(message, bytes):
                (length,) = struct.unpack_from("<I", message)
                return json.loads(message[4 : 4 + length]), message[4 + length :]

    def draw(self, serial: int) -> None:
        """Say that it was drawn."""
        self._socket.send(json.dumps({"seen": serial}))


def wait_for_page(sink: PanelSink, waiting: int = 1) -> None:
    """Until so many pages wait for a picture."""
    tick = threading.Event()
    for _ in range(1000):
        if sink.waiting == waiting:
            return
        tick.wait(0.01)
    raise AssertionError(f"{sink.waiting} pages wait, not {waiting}")


def test_a_picture_comes_with_the_numbers_that_made_it(running: Running) -> None:
    sink, observed = running.panel.sink, running.control.observed
    with Page(running) as page:
        wait_for_page(sink)
        assert observed.wanted, "the loop is asked to note what drives"
        output, driver = neutral(), neutral()
        output[11], driver[11] = 0.25, 0.5
        landmarks = np.full((478, 2), 0.25, dtype=np.float32)
        observed.put(Observation(1.0, (None, driver), output, (None, landmarks)))
        sink.send(picture(200), 1.0)
        head, rest = page.picture()
        assert (head["drivers"], head["landmarks"], head["size"]) == ([False, True], [0, 478], SIZE)
        numbers = np.frombuffer(rest[: 8 * SIZE], dtype="<f4").reshape(2, SIZE)
        assert np.array_equal(numbers, np.stack([output, driver]))
        points = np.frombuffer(rest[8 * SIZE : 8 * SIZE + 4 * 478], dtype="<u2")
        assert np.all(np.abs(points.astype(int) - 16384) <= 1)
        shown = cv2.imdecode(np.frombuffer(rest[8 * SIZE + 4 * 478 :], np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None and shown.shape == (16, 16, 3) and np.abs(shown.astype(int) - 200).max() <= 3
    wait_for_page(sink, 0)
    assert not observed.wanted


def test_a_stalled_page_gets_the_newest_picture_when_it_wakes(running: Running) -> None:
    """It took IN_FLIGHT pictures and draws none. The loop goes on and copies nothing; then the newest comes at once."""
    sink = running.panel.sink
    with Page(running) as page:
        for value in range(IN_FLIGHT):
            wait_for_page(sink)
            sink.send(picture(value), float(value))
            serial = page.picture()[0]["serial"]
        wait_for_page(sink, 0)
        for i in range(100):
            sink.send(picture(90), 10.0 + i)
        assert sink.serial == serial, "nobody waits, so nothing was copied or encoded"
        page.draw(serial)
        wait_for_page(sink)
        sink.send(picture(250), 200.0)
        head, _ = page.picture()
        assert head["serial"] == serial + 1 and head["time_s"] == 200.0


def test_one_stalled_page_does_not_hold_up_another(running: Running) -> None:
    sink = running.panel.sink
    with Page(running) as stalled, Page(running) as quick:
        for value in range(IN_FLIGHT):
            wait_for_page(sink, 2)
            sink.send(picture(value), float(value))
            quick.draw(quick.picture()[0]["serial"])
            stalled.picture()
        for value in range(5):
            wait_for_page(sink, 1)
            sink.send(picture(value), 10.0 + value)
            head, _ = quick.picture()
            assert head["time_s"] == 10.0 + value
            quick.draw(head["serial"])


def test_a_picture_of_a_huge_photo_is_made_smaller(running: Running) -> None:
    sink = PanelSink(lambda: None)
    sink.open(3 * LARGEST_PX, LARGEST_PX, running.desk.fps)
    sink.waiting = 1
    sink.send(picture(7, 3 * LARGEST_PX, LARGEST_PX), 0.0)
    assert sink.take()[1].shape == (-(-LARGEST_PX // 3), LARGEST_PX, 3)
