"""`icface-live doctor`: a table of what works here and what does not, and what to do about it."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from icface.command import Parser, run_command
from realtime.doctor import FAILED, NOTE, OK, Finding
from realtime.doctor.checks import CHECKS
from realtime.doctor.running import findings_of

SCHEMA: Final = "icface-live-doctor/1"
_STATE_WIDTH, _CHECK_WIDTH = 8, 16


def parser() -> Parser:
    """All flags."""
    p = Parser(
        prog="icface-live doctor",
        description="Look at everything that a run needs, and say what to do where something fails.",
        epilog="exit codes: 0 nothing failed (notes may be there), 1 something failed, 2 a flag that cannot be used",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "checks",
        nargs="*",
        metavar="CHECK",
        help=f"only these: {', '.join(CHECKS)} (default: all)",
    )
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return p


def line_of(finding: Finding, width: int) -> str:
    """A line of the table, and below it what to do, wrapped to so many characters."""
    left = " " * (_STATE_WIDTH + _CHECK_WIDTH)
    first = f"{finding.state:<{_STATE_WIDTH}}{finding.check:<{_CHECK_WIDTH}}"
    wrapper = textwrap.TextWrapper(
        width=max(width, len(left) + 40), break_long_words=False, break_on_hyphens=False
    )
    wrapper.initial_indent, wrapper.subsequent_indent = first, left
    lines = wrapper.wrap(finding.found)
    if finding.remedy:
        wrapper.initial_indent, wrapper.subsequent_indent = f"{left}-> ", f"{left}   "
        lines += wrapper.wrap(finding.remedy)
    return "\n".join(lines)


def examined(names: Sequence[str]) -> Iterator[Finding]:
    """What the named checks find, one check after another, so that the speeds are those of an idle machine."""
    for name in names:
        yield from findings_of(name, CHECKS[name].bound_s)


def examine(flags: argparse.Namespace) -> int:
    """Make the checks and print what they find; 1 where one failed."""
    for name in flags.checks:
        if name not in CHECKS:
            parser().error(f"there is no check {name!r}; there are: {', '.join(CHECKS)}")
    names = [name for name in CHECKS if not flags.checks or name in flags.checks]
    width = shutil.get_terminal_size((110, 24)).columns
    findings = []
    for finding in examined(names):
        findings.append(finding)
        if not flags.json:
            print(line_of(finding, width), flush=True)
    count = {state: sum(finding.state == state for finding in findings) for state in (OK, NOTE, FAILED)}
    if flags.json:
        document = {"schema": SCHEMA, "ok": not count[FAILED], "findings": findings}
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
    elif count[FAILED]:
        print(f"{count[FAILED]} of {len(findings)} lines failed; what to do stands after each arrow")
    else:
        notes = f"; {count[NOTE]} note{'s' * (count[NOTE] > 1)}" if count[NOTE] else ""
        print(f"nothing failed{notes}")
    return int(count[FAILED] > 0)


def main(argv: Sequence[str]) -> int:
    """Run the command; gives 0, 1 or 2. Never raises or exits."""
    try:
        return run_command(parser(), examine, argv)
    except SystemExit as end:  # a check that is not there
        return int(end.code or 0)
