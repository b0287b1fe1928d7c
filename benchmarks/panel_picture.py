"""The picture of the panel in README and docs/panel.md: a run on the examples, a recording, some values of one's own.

    python benchmarks/panel_picture.py docs/images/panel.jpg

Needs playwright (`pip install ".[test-all]"`) and a Chromium of the system.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path, help="a .jpg or .png file")
    parser.add_argument("--dark", action="store_true", help="the dark page")
    parser.add_argument(
        "--width", type=int, default=1440, help="of the page, in pixels (default: %(default)s)"
    )
    parser.add_argument("--height", type=int, default=900, help="(default: %(default)s)")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
        command = [
            *(sys.executable, "-c", "import sys; from realtime.cli import main; sys.exit(main())"),
            *("--source", "examples/source.jpg", "--source", "examples/rendered.jpg"),
            *("--driver", "examples/driver.mp4", "--loop", "--panel", "--no-build"),
        ]
        run = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
        assert run.stderr is not None
        try:
            address = next(found[1] for line in run.stderr if (found := re.search(r"panel: (\S+)", line)))
            take(address, flags)
        finally:
            run.terminate()
            run.communicate()


def take(address: str, flags: argparse.Namespace) -> None:
    """Do on the page what the picture shows, and take it."""
    from playwright.sync_api import sync_playwright

    chromium = next(path for name in CHROMIUM if (path := shutil.which(name)))
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = browser.new_page(
            viewport={"width": flags.width, "height": flags.height},
            color_scheme="dark" if flags.dark else "light",
        )
        page.set_default_timeout(120_000)
        page.goto(address)
        page.wait_for_selector("#curtain", state="hidden")
        page.wait_for_selector("[data-photo='1'] img")
        page.locator("#do-record").click()
        page.wait_for_timeout(6000)
        page.locator("#do-record").click()
        page.wait_for_selector("#track-render:enabled")
        page.locator("#track-attribute").select_option("yaw")
        page.locator("#track-scrub").fill("2.4")
        page.locator("#track-live").click()
        page.wait_for_timeout(500)
        page.locator("#slider-AU12").fill("0.62")
        page.locator("#slider-AU06").fill("0.4")
        page.locator("#slider-AU01").fill("0.3")
        page.locator("#slider-roll").fill("0.56")
        page.locator("#slider-AU45").fill("0")  # no picture in the middle of a blink
        page.locator(".row:has(#slider-AU25) [aria-label^=Gain]").fill("1.4")
        page.locator("[aria-label='Lock Gaze']").click()
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        page.wait_for_timeout(3000)
        quality = 85 if flags.picture.suffix in (".jpg", ".jpeg") else None
        page.screenshot(path=flags.picture, quality=quality)
        browser.close()


if __name__ == "__main__":
    main()
