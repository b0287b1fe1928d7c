"""WebRTC calls without a browser: another aiortc is the page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from icface.arrays import Frame
from realtime.control import Observed
from realtime.panel.pictures import PanelSink, Pictures
from realtime.slot import Closed

aiortc = pytest.importorskip("aiortc", reason="no aiortc; pip install '.[webrtc]'")
from aioice.ice import get_host_addresses  # noqa: E402

from realtime.panel import calls as calls_module  # noqa: E402
from realtime.panel.calls import Calls, Offer  # noqa: E402

TIMEOUT_S = 30.0
needs_network = pytest.mark.skipif(
    not get_host_addresses(True, True),
    reason="this machine has no address but loopback, which ICE leaves out",
)


class Driver:
    """Keeps the newest frame; leaves when it is told to."""

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.came = asyncio.Event()
        self.left = False

    def show(self, frame: Frame) -> None:
        if self.left:
            raise Closed
        self.frame = frame
        self.came.set()


class Seats:
    """A crew that the browser's driver joins when it is asked to."""

    def __init__(self) -> None:
        self.seated: Driver | None = None

    def browser(self) -> Driver | None:
        return self.seated

    def join(self, name: str) -> None:
        assert name == "browser"
        self.seated = Driver()


@dataclass
class Desk:
    crew: Seats = field(default_factory=Seats)
    ended_call: int = 0


class Bench:
    """Calls, and pictures of one colour that come on and on."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.sink = PanelSink(lambda: self.pictures.notify())
        self.pictures = Pictures(Observed())
        self.pictures.sink = self.sink
        self.sink.open(65, 49, Fraction(50))
        self.calls = Calls(self.desk, self.pictures, self._on_desk)  # type: ignore[arg-type]
        self.clients: list[Any] = []

    async def _on_desk(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def send(self) -> None:
        picture = np.full((49, 65, 3), (200, 40, 90), np.uint8)
        while True:
            self.sink.send(picture, asyncio.get_running_loop().time())
            await asyncio.sleep(0.02)

    async def call(self) -> Any:
        """A page that calls; gives its connection."""
        client = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self.clients.append(client)
        client.addTrack(aiortc.mediastreams.VideoStreamTrack())
        await client.setLocalDescription(await client.createOffer())
        sdp = await self.calls._answer(Offer(client.localDescription.sdp))
        await client.setRemoteDescription(aiortc.RTCSessionDescription(sdp, "answer"))
        return client

    async def close(self) -> None:
        await self.calls.close()
        for client in self.clients:
            await client.close()

    async def ended(self) -> None:
        """Until nobody watches a camera."""
        for task in list(self.calls._watching):
            await asyncio.wait_for(task, TIMEOUT_S)


def run(test: Callable[[Bench], Any]) -> None:
    async def whole() -> None:
        bench = Bench()
        sending = asyncio.ensure_future(bench.send())
        try:
            await asyncio.wait_for(test(bench), TIMEOUT_S)
        finally:
            await bench.close()
            sending.cancel()

    asyncio.run(whole())


@needs_network
def test_the_camera_comes_in_the_output_goes_back_and_the_pages_end_ends_the_call() -> None:
    async def test(bench: Bench) -> None:
        client = await bench.call()
        shown = await client.getReceivers()[0].track.recv()
        assert (shown.width, shown.height) == (64, 48), "even, as the encoder needs it"
        assert np.abs(shown.to_ndarray(format="rgb24")[24, 32].astype(int) - (200, 40, 90)).max() < 12
        driver = bench.desk.crew.seated
        assert driver is not None
        await driver.came.wait()
        assert driver.frame is not None and driver.frame.shape == (480, 640, 3)
        assert bench.desk.ended_call == 0
        await client.close()
        await bench.ended()
        assert bench.desk.ended_call == 1 and bench.calls._open is None

    run(test)


@needs_network
def test_a_new_call_ends_the_one_before_and_keeps_the_driver() -> None:
    async def test(bench: Bench) -> None:
        await bench.call()
        driver = bench.desk.crew.seated
        client = await bench.call()
        assert bench.desk.ended_call == 1
        assert bench.desk.crew.seated is driver is not None
        await client.getReceivers()[0].track.recv()
        await driver.came.wait()
        driver.left = True
        await bench.ended()
        assert bench.desk.ended_call == 2, "a driver that is removed ends its call"

    run(test)


def test_a_call_that_does_not_close_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: object) -> None:
        await asyncio.Event().wait()

    async def test(bench: Bench) -> None:
        await bench.call()
        with monkeypatch.context() as patch:
            patch.setattr(aiortc.RTCPeerConnection, "close", hang)
            patch.setattr(calls_module, "_CLOSE_TIMEOUT_S", 0.01)
            ended = bench.calls._open
            await bench.calls.close()
        assert bench.desk.ended_call == 1
        assert ended is not None
        await ended.close()

    run(test)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not understood"),
        (b"[]", "not understood"),
        (b'{"sdp": 3}', "not understood"),
        (b'{"sdp": "nonsense"}', "cannot be answered"),
        (b'{"sdp": ""}', "cannot be answered"),
        (b"a" * 200_000, "too large"),
    ],
)
def test_what_is_no_offer_is_refused_in_a_line(body: bytes, reason: str) -> None:
    async def test(bench: Bench) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        answer = await bench.calls.take(Request({"type": "http", "method": "POST", "headers": []}, receive))
        text = bytes(answer.body).decode()
        assert answer.status_code == 422
        assert reason in text and "\n" not in text
        assert bench.calls._open is None

    run(test)


def test_an_offer_is_answered_with_the_calls_number() -> None:
    async def test(bench: Bench) -> None:
        client = aiortc.RTCPeerConnection()
        bench.clients.append(client)
        client.addTransceiver("video")
        body = json.dumps({"sdp": (await client.createOffer()).sdp}).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        answer = await bench.calls.take(Request({"type": "http", "method": "POST", "headers": []}, receive))
        assert json.loads(bytes(answer.body))["number"] == 1

    run(test)
