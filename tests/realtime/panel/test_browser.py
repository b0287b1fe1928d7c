"""The panel in a real browser: what is done on the page happens in the picture, measured with the product's tracker.

One product and one browser serve all tests here. Each leaves the face to the driver again.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from icface.attributes import INDEX
from realtime.drivers.table import load_table
from tests.realtime.panel.browser import CHROMIUM, Eye, Page, chromium, driver_table, product

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install '.[test-all]'")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not any(shutil.which(name) for name in CHROMIUM), reason="no Chromium; apt install chromium"
    ),
]


@dataclass
class Stage:
    """Everything that the tests share."""

    browser: Any
    page: Page
    eye: Eye
    address: str
    home: Path
    flags: list[str | Path]


@pytest.fixture(scope="module")
def stage(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A woman's photo, driven by a video and by a table of a wide smile."""
    home = tmp_path_factory.mktemp("home")
    smiling = driver_table(home / "smiling.csv", AU12=1.0, AU06=0.6)
    flags: list[str | Path] = [
        "--source", repository / "examples/source.jpg", "--driver", repository / "examples/driver.mp4",
        "--driver", smiling, "--loop", "--size", "256", "--quality", "fast", "--mark", "off",
    ]  # fmt: skip
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_api.sync_playwright())
        # Root in a container has no user namespaces, which the browser's sandbox needs.
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        stack.callback(browser.close)
        address = stack.enter_context(product(home, *flags))
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = Page(context.new_page(), address)
        eye = Eye()
        stack.callback(eye.close)
        stage = Stage(browser, page, eye, address, home, flags)
        set_rest(stage)
        eye.rest(page.frame())
        yield stage
        assert page.problems == [], "the page said so on its console"


def set_rest(stage: Stage) -> None:
    """Nobody drives: the face rests."""
    page = stage.page
    page.page.locator("#do-reset").click()
    for group in ("pose", "gaze", "brows", "eyes", "mouth", "nose"):
        page.group_source(group).select_option("neutral")
    page.wait(lambda: page.value("AU26") == page.value("AU12") == 0.0, "the face does not come to rest")
    page.page.wait_for_timeout(300)  # changes fade


def test_the_token_is_out_of_the_address_and_a_reload_works(stage: Stage) -> None:
    page = stage.page.page
    assert "token" not in page.url
    page.reload()
    stage.page.wait_until_ready()
    assert page.locator("#connection").inner_text() == "Live"


def test_a_slider_moves_the_mouth_in_the_picture(stage: Stage) -> None:
    set_rest(stage)
    page, eye = stage.page, stage.eye
    before = eye.attributes(page.frame())
    for name in ("AU25", "AU26"):
        page.page.locator(f"#slider-{name}").press("End")
    page.wait(lambda: page.value("AU26") == 1.0, "the slider is not followed")
    page.page.wait_for_timeout(300)
    after = eye.attributes(page.frame())
    opened = after[[INDEX["AU25"], INDEX["AU26"]]] - before[[INDEX["AU25"], INDEX["AU26"]]]
    assert (opened > 0.5).all(), f"lips and jaw opened by {opened}"
    assert page.source("AU26").input_value() == "fixed"
    page.page.locator("#slider-AU26").press("Backspace")
    page.wait(lambda: page.source("AU26").input_value() == "driver 1", "the driver does not get it back")


def test_a_mix_of_two_drivers_plays(stage: Stage) -> None:
    """The head is the video's, the mouth the table's."""
    set_rest(stage)
    page = stage.page
    page.group_source("pose").select_option("driver 1")
    page.group_source("mouth").select_option("driver 2")
    page.wait(lambda: page.value("AU12") > 0.95, "the mouth is not the table's")
    assert stage.eye.attributes(page.frame())[INDEX["AU12"]] > 0.5, "a smile is seen"
    turns: list[float] = []

    def turned() -> bool:
        turns.append(page.value("yaw"))
        return max(turns) - min(turns) >= 4.0

    page.wait(turned, "the head does not turn as in the video")
    assert page.value("AU12") > 0.95


def file_to_drop(page: Any, path: Path, kind: str) -> Any:
    """What the page gets with a drop of this file."""
    return page.evaluate_handle(
        """([content, name, type]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type }));
            return transfer;
        }""",
        [base64.b64encode(path.read_bytes()).decode(), path.name, kind],
    )


def test_a_driver_that_is_dropped_drives_within_limits_and_leaves(stage: Stage) -> None:
    set_rest(stage)
    page, browser = stage.page, stage.page.page
    grinning = driver_table(stage.home / "grinning.csv", AU12=0.9)
    dropped = file_to_drop(browser, grinning, "text/csv")
    browser.dispatch_event("#drivers-card", "drop", {"dataTransfer": dropped})
    browser.wait_for_selector("[data-driver='3']")
    page.group_source("mouth").select_option("driver 3")
    page.wait(lambda: page.value("AU12") == 0.9, "the new driver does not move the mouth")
    browser.locator(".row:has(#slider-AU12) .more").click()
    field = browser.locator(".row:has(#slider-AU12) [data-field=high]")
    field.fill("0.4")
    field.press("Enter")
    page.wait(lambda: page.value("AU12") == 0.4, "the limit does not act")
    field.fill("")
    field.press("Enter")
    page.wait(lambda: page.value("AU12") == 0.9, "the limit does not go")
    browser.locator("[data-key=remove-3]").click()
    browser.wait_for_selector("[data-driver='3']", state="detached")
    page.wait(lambda: page.value("AU12") < 0.05, "the mouth does not come to rest")
    assert page.source("AU12").input_value() == "photo"


def test_a_photo_that_is_dropped_is_shown(stage: Stage, repository: Path) -> None:
    set_rest(stage)
    page = stage.page
    dropped = file_to_drop(page.page, repository / "examples/rendered.jpg", "image/jpeg")
    before = page.frame()
    page.page.dispatch_event("#photos-card", "drop", {"dataTransfer": dropped})
    page.page.locator("[data-photo='1']:not([disabled])").click()
    page.page.wait_for_selector("[data-photo='1'].shown")
    after = page.frame()
    assert np.abs(after.astype(int) - before).mean() > 20, "another face is shown"
    assert stage.eye.look(after) is not None
    page.page.locator("[data-photo='0']").click()
    page.wait(lambda: np.abs(page.frame().astype(int) - before).mean() < 5, "the first photo is back")


def test_a_photo_of_somebody_is_taken_when_they_agreed(stage: Stage, tmp_path: Path) -> None:
    """The question comes again after a no, and the same file can be chosen again."""
    page, photo = stage.page.page, tmp_path / "Ann.png"
    Image.fromarray(np.full((90, 120, 3), 120, dtype=np.uint8)).save(photo)
    count = page.locator("[data-photo]").count()
    asked: list[str] = []
    for answer in ("dismiss", "accept"):
        with page.expect_event("dialog") as dialog:
            page.once("dialog", lambda shown, answer=answer: getattr(shown, answer)())
            page.locator("#photos .add input").set_input_files(photo)
        asked.append(dialog.value.message)
        if answer == "dismiss":
            page.wait_for_selector("text=Ann.png is not used without consent")
            assert page.locator("[data-photo]").count() == count
    page.wait_for_selector(f"[data-photo='{count}']")
    assert asked == ["Ann.png: is this you, did this person agree, or does nobody look like this?"] * 2


def test_a_recorded_track_is_edited_and_rendered(stage: Stage) -> None:
    set_rest(stage)
    page, browser = stage.page, stage.page.page
    browser.locator("#do-record").click()
    browser.wait_for_selector("#recording:visible")
    browser.wait_for_timeout(1200)
    browser.locator("#do-record").click()
    # The track is open now, and drives. Its curve of the jaw is drawn to the top from end to end.
    browser.wait_for_selector("#track-render:enabled")
    name = browser.locator("#track").input_value()
    browser.locator("#track-attribute").select_option("AU26")
    browser.locator("#track-reach").select_option("0")
    place = browser.locator("#curve").bounding_box()
    top = place["y"] + 7
    browser.mouse.move(place["x"] + 1, top)
    browser.mouse.down()
    browser.mouse.move(place["x"] + place["width"] - 1, top, steps=12)
    browser.mouse.up()
    page.wait(lambda: page.value("AU26") > 0.95, "the edit is not seen in the picture")

    # It plays and is scrubbed.
    browser.wait_for_selector("#track-play[aria-label=Play]")
    browser.locator("#track-play").click()
    browser.wait_for_selector("#track-play[aria-label=Pause]")
    browser.locator("#track-play").click()
    browser.wait_for_selector("#track-play[aria-label=Play]")
    browser.locator("#track-scrub").press("Home")
    page.wait(lambda: browser.locator("#track-time").inner_text().startswith("0.0 /"), "it was not scrubbed")

    browser.locator("#track-render").click()
    # It is rendered at a low priority, which may take long where much else runs.
    browser.wait_for_selector("[data-job]:not([data-state=running])", timeout=300_000)
    assert browser.locator("[data-job]").get_attribute("data-state") == "done"
    with browser.expect_download() as download:
        browser.locator("[data-job] button").click()
    video = stage.home / "rendered.mp4"
    download.value.save_as(video)
    folder = stage.home / "data/icface-live/recordings"
    recorded, edited = load_table(folder / f"{name}.csv"), load_table(folder / f"{name} edit 1.csv")
    assert np.all(recorded.values[:, INDEX["AU26"]] == 0), "the recording stays as it was"
    assert np.all(edited.values[:, INDEX["AU26"]] > 0.95)
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(edited)
    middle = np.asarray(frames[len(frames) // 2], dtype=np.uint8)
    assert stage.eye.attributes(middle)[INDEX["AU26"]] > 0.5, "the jaw is open in the video"
    browser.locator("#track-live").click()


def test_a_preset_survives_a_restart(stage: Stage) -> None:
    page, browser = stage.page, stage.page.page
    browser.locator("#do-reset").click()
    browser.locator("#slider-AU04").fill("0.7")
    browser.locator(".row:has(#slider-AU12) [aria-label^=Gain]").fill("1.5")
    browser.locator(".row:has(#slider-AU12) [aria-label^=Gain]").press("Enter")
    page.wait(lambda: page.value("AU04") == 0.7, "the slider is not followed")
    browser.locator("#preset-name").fill("Frown at me")
    browser.locator("#preset-form button").click()
    browser.wait_for_selector("[data-preset='Frown at me']")
    with product(stage.home, *stage.flags) as address:
        again = Page(stage.browser.new_context().new_page(), address)
        again.page.locator("[data-preset='Frown at me']").click()
        again.wait(lambda: again.source("AU04").input_value() == "fixed", "the preset was not loaded")
        assert again.page.locator("#slider-AU04").input_value() == "0.7"
        assert again.page.locator(".row:has(#slider-AU12) [aria-label^=Gain]").input_value() == "1.5"
        again.page.context.close()


def test_a_page_that_is_not_seen_asks_for_no_picture(stage: Stage) -> None:
    context = stage.browser.new_context()
    page = Page(context.new_page(), stage.address)
    page.page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.unseen })")
    page.page.evaluate("window.unseen = true")

    def serial() -> int:
        return int(page.page.locator("#output").get_attribute("data-serial"))

    for _ in range(3):
        stage.page.frame()  # what was on its way is drawn meanwhile
    hidden_at = serial()
    for _ in range(5):
        stage.page.frame()
    assert serial() == hidden_at
    page.page.evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait(lambda: serial() > hidden_at + 5, "it does not go on when it is seen again")
    assert page.problems == []
    context.close()


def test_a_page_that_hangs_holds_up_no_other(stage: Stage) -> None:
    """One page's script runs without an end in sight; the other goes on."""
    context = stage.browser.new_context()
    hanging = Page(context.new_page(), stage.address)
    hanging.page.evaluate("setTimeout(() => { for (const end = Date.now() + 3000; Date.now() < end; ); }, 0)")
    for _ in range(5):
        stage.page.frame()
    assert hanging.page.evaluate("1 + 1") == 2
    hanging.frame()
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1440, "dark")])
def test_the_page_fits_and_everything_on_it_has_a_name(stage: Stage, width: int, scheme: str) -> None:
    context = stage.browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = Page(context.new_page(), stage.address)
    page.page.locator("details:not([open]) > summary .name").first.click()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = page.page.evaluate(
        """[...document.querySelectorAll("button, select, input:not([type=file])")].filter((each) =>
            !(each.ariaLabel || each.labels?.length || each.textContent.trim())).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    light = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in light[light.index("(") + 1 : -1].split(",")[:3]]
    assert (sum(levels) > 380) == (scheme == "light")
    # Every control is reached by the keyboard: Tab leads from the skip link into the attributes.
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.closest('#mixer') !== null")
    assert page.problems == []
    context.close()
