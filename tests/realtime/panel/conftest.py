"""A panel on a run of fakes, and a plain client that says what it likes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from icface.control.state import ControlState
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.disclosure import Provenance
from realtime.drivers.crew import Crew
from realtime.panel import Panel
from realtime.panel.desk import ControlDesk
from realtime.photos import Photos
from realtime.recording import Recordings
from realtime.renderer import Scene, make_scene
from tests.realtime.fakes import Bench, source


def picture_file(path: Path, width: int = 64, height: int = 48) -> Path:
    """A picture without a face."""
    Image.fromarray(np.full((height, width, 3), 120, dtype=np.uint8)).save(path)
    return path


@dataclass
class Running:
    """A panel that serves, and what is behind it."""

    panel: Panel
    desk: ControlDesk
    control: Control
    bench: Bench
    port: int
    token: str
    folder: Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: Any
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """A request as the page makes it, but for headers given otherwise (None: left out): status, text, headers."""
        usual: dict[str, Any] = {
            "host": self.host,
            "origin": self.origin,
            "authorization": f"Bearer {self.token}",
        }
        usual |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in usual.items():
            if value is not None:
                connection.putheader(name, value)
        if body is not None and "content_length" not in headers:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text, answer.msg


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("panel")
    path = picture_file(folder / "me.png")
    photos: Photos[Scene] = Photos([path], lambda number: make_scene(number, source(), "crop", None))
    photos.first()
    photos.start_others()
    bench = Bench(photos=photos)
    control = bench.reenactment.control = Control(ControlState.default(2))
    panel = Panel(control)
    panel.sink.open(16, 16, Fraction(25))
    renderer = bench.reenactment.renderer
    recordings = Recordings(control, renderer, Fraction(25), folder / "tracks", Provenance())
    config = LiveConfig(sources=(path,), null=True, consent="yes")
    crew = Crew(config, control, bench.reenactment.metrics, threading.Event())
    url = panel.serve(config, bench.reenactment, photos, recordings, crew, Fraction(25))
    address, _, token = url.partition("/#token=")
    yield Running(panel, panel.desk, control, bench, int(address.rpartition(":")[2]), token, folder)
    panel.close()
    photos.close()
    assert not any(thread.name.startswith("panel") for thread in threading.enumerate())
