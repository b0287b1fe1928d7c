"""A running product with a panel, and a real browser that looks at it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import INDEX, FloatArray, neutral
from icface.face.action_units import baseline_of, measure_attributes
from icface.face.landmarks import Landmarks, open_detector

REPOSITORY = Path(__file__).resolve().parents[3]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TIMEOUT_S = 60.0
"""For what takes a second or two where nothing else runs."""


def chromium() -> str:
    """The system's browser; skips the test where there is none."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine; apt install chromium")
    return found


@contextmanager
def product(home: Path, *flags: str | Path) -> Iterator[str]:
    """`icface-live --panel` with a home of its own; gives the panel's address."""
    environment = {
        **os.environ,
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }
    command = "import sys; from realtime.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "--panel", *map(str, flags)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    address: list[str] = []
    for line in process.stderr:
        said.append(line)
        if match := re.search(r"panel: (http\S+)", line):
            address.append(match[1])
            break
    # The pipe is read on, so that the product never waits to say something.
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        assert address, "".join(said)
        yield address[0]
    finally:
        process.terminate()
        code = process.wait(TIMEOUT_S)
        reader.join(TIMEOUT_S)
        process.stderr.close()
    assert code == 0 and "unexpected" not in "".join(said), "".join(said)


class Page:
    """The panel's page."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(1e3 * TIMEOUT_S)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._console)
        page.goto(address)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until the first picture and the mix are there. They come one beside the other, in any order."""
        self.page.wait_for_selector("#curtain", state="hidden")
        self.page.wait_for_selector(".row select option", state="attached")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def frame(self) -> Frame:
        """The picture that the page shows, (H, W, 3) RGB, of a time after this call."""
        serial = int(self.page.locator("#output").get_attribute("data-serial"))
        url = self.page.evaluate(
            """async (serial) => {
                const canvas = document.getElementById("output");
                while (Number(canvas.dataset.serial) <= serial + 1) await new Promise(requestAnimationFrame);
                return canvas.toDataURL("image/png");
            }""",
            serial,
        )
        content = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert picture is not None
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def wait(self, what: Callable[[], bool], why: str) -> None:
        """Until it is so."""
        for _ in range(int(TIMEOUT_S / 0.05)):
            if what():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(why)

    def value(self, name: str) -> float:
        """The output's value of an attribute, as the page writes it."""
        text = self.page.locator(f"output[for=slider-{name}]").inner_text()
        return float(text.replace("−", "-").rstrip("°"))

    def source(self, name: str) -> Any:
        """The list that chooses an attribute's source."""
        return self.page.locator(f".row:has(#slider-{name}) select")

    def group_source(self, group: str) -> Any:
        return self.page.locator(f"details[data-group={group}] summary select")


class Eye:
    """Measures pictures with the product's own tracker, against one of a face at rest."""

    def __init__(self) -> None:
        self._detector = open_detector(video=False)
        self._rest: Any = None

    def look(self, frame: Frame) -> Landmarks:
        """The face in a picture. A crop that is full of the face is given room, as a camera's picture has."""
        room = frame.shape[0] // 2
        found = self._detector.detect(
            np.asarray(cv2.copyMakeBorder(frame, room, room, room, room, cv2.BORDER_REPLICATE), np.uint8)
        )
        assert found, "no face in the picture"
        return found[0]

    def rest(self, frame: Frame) -> None:
        """This is the face at rest."""
        self._rest = baseline_of(self.look(frame))

    def attributes(self, frame: Frame) -> FloatArray:
        """(SIZE,) of a picture."""
        return measure_attributes(self.look(frame), self._rest)

    def close(self) -> None:
        self._detector.close()


def driver_table(path: Path, rows: int = 60, fps: float = 25.0, **fixed: float) -> Path:
    """A table whose every row has these values."""
    from realtime.recorder import Recorder

    values = neutral()
    for name, at in fixed.items():
        values[INDEX[name]] = at
    with closing(Recorder(path)) as recorder:
        for row in range(rows):
            recorder.add(values, row / fps, present=True)
    return path
