"""A call in a real browser: its camera, which shows a clip of a face, drives, and the output plays in the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from tests.realtime.panel.browser import CHROMIUM, Page, chromium, product

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install '.[test-all]'")
pytest.importorskip("aiortc", reason="no aiortc; pip install '.[webrtc]'")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not any(shutil.which(name) for name in CHROMIUM), reason="no Chromium; apt install chromium"
    ),
]

SHOWN = """() => {
    const video = document.getElementById("video");
    return [video.videoWidth, video.videoHeight, video.getVideoPlaybackQuality().totalVideoFrames];
}"""


def camera_file(clip: Path, path: Path) -> Path:
    """The clip as the browser's fake camera reads it: JPEG after JPEG."""
    with av.open(str(clip)) as container, path.open("wb") as file:
        for frame in container.decode(video=0):
            file.write(cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes())
    return path


@pytest.fixture(scope="module")
def opened(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A browser's context and the panel's address."""
    home = tmp_path_factory.mktemp("home")
    camera = camera_file(repository / "examples/driver.mp4", home / "camera.mjpeg")
    with ExitStack() as stack:
        address = stack.enter_context(
            product(
                home, "--panel-webrtc", "--source", repository / "examples/source.jpg",
                "--size", "256", "--quality", "fast", "--mark", "off",
            )
        )  # fmt: skip
        playwright = stack.enter_context(sync_api.sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}",
            ],
        )
        stack.callback(browser.close)
        yield browser.new_context(viewport={"width": 1200, "height": 800}), address


def test_the_browsers_camera_drives_and_the_output_plays(opened: tuple[Any, str]) -> None:
    context, address = opened
    page = Page(context.new_page(), address)
    browser = page.page
    assert page.source("yaw").input_value() == "driver 1"
    browser.locator("#do-call").click()
    browser.wait_for_selector("#video:visible")
    width, height, first = browser.evaluate(SHOWN)
    assert (width, height) == (256, 256)
    page.wait(lambda: browser.evaluate(SHOWN)[2] > first + 30, "the video does not go on")
    # The clip turns the head to both sides and opens the mouth.
    turns: list[float] = []

    def turned() -> bool:
        turns.append(page.value("yaw"))
        return max(turns) - min(turns) >= 8.0

    page.wait(turned, "the head does not turn as in the clip")

    browser.locator("#do-call").click()
    browser.wait_for_selector("#output:visible")
    page.wait(lambda: page.value("yaw") == page.value("AU26") == 0.0, "the face does not come to rest")
    page.frame()
    assert page.problems == []
    browser.close()


def test_a_second_page_takes_the_call_over(opened: tuple[Any, str]) -> None:
    context, address = opened
    first, second = Page(context.new_page(), address), Page(context.new_page(), address)
    for page in (first, second):
        page.page.bring_to_front()
        page.page.locator("#do-call").click()
        page.page.wait_for_selector("#video:visible")
    first.page.wait_for_selector("#do-call[aria-pressed=false]")
    assert "another browser calls now" in first.page.locator("#messages").inner_text()
    assert first.problems == second.problems == []


def test_without_the_token_no_call_is_taken(opened: tuple[Any, str]) -> None:
    context, address = opened
    page = context.new_page()
    page.goto(address.partition("#")[0])
    ask = """(token) => fetch("/api/call", { method: "POST", body: '{"sdp": ""}',
        headers: token ? { Authorization: `Bearer ${token}` } : {} }).then((answer) => answer.status)"""
    assert page.evaluate(ask, "") == page.evaluate(ask, "wrong") == 401
    assert page.evaluate(ask, address.partition("=")[2]) == 422, "no offer, but let in"
