"""README says what the product does: its flags, its keys and its commands. Links of all pages lead somewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from realtime.flags import parser
from realtime.hotkeys import HOTKEYS
from training.preparation.split import KEPT

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [
    path.relative_to(REPOSITORY).as_posix()
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"))
]


def flags() -> list[str]:
    """The long form of every flag, the negative ones of pairs left out."""
    return [
        next(option for option in action.option_strings if option.startswith("--"))
        for action in parser()._actions
        if not isinstance(action, argparse._HelpAction | argparse._VersionAction)
        and "--verbose" not in action.option_strings
    ]


@pytest.mark.parametrize("flag", flags())
def test_readme_has_every_flag(flag: str) -> None:
    assert re.search(rf"{flag}\b", README), f"README does not mention {flag}"


def test_readme_has_no_flag_that_is_not_there() -> None:
    known = {option for action in parser()._actions for option in action.option_strings}
    # The other commands have their parsers where torch is. It is enough to read their files.
    others = (
        path for folder in ("training", "export", "benchmarks") for path in (REPOSITORY / folder).glob("*.py")
    )
    for path in (
        REPOSITORY / "icface/engines/command.py",
        REPOSITORY / "realtime/attributes_command.py",
        REPOSITORY / "realtime/check_command.py",
        REPOSITORY / "realtime/sign_command.py",
        *others,
    ):
        if path.is_file():
            known |= set(re.findall(r'"(--[a-z][a-z-]+)"', path.read_text(encoding="utf-8")))
    known |= {f"--{split}-{what}" for split in KEPT for what in ("identity", "share")}
    lines = [line for line in README.splitlines() if not line.startswith(("sudo", "pip", "echo"))]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(lines)))
    assert named - known == set()


@pytest.mark.parametrize("key", [key for keys in HOTKEYS for key in keys.split(", ")])
def test_readme_has_every_hotkey(key: str) -> None:
    assert f"`{key}`" in README or f"`{key.replace('-', '`–`')}`" in README


def test_readme_has_the_two_commands() -> None:
    """`.ci/run` types them; here it is certain that it finds them."""
    lines = README.splitlines()
    assert sum(line.startswith("pip install . && icface-live --source examples/") for line in lines) == 1
    assert lines.count('pip install ".[test-all]" && pytest') == 1


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page} links to {target}"
