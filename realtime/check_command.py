"""`icface-live check FILE …`: what pictures and videos say of their making."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from icface.command import Parser, print_error, printable, run_command


def parser() -> Parser:
    """All flags."""
    p = Parser(
        prog="icface-live check",
        description="Say whether pictures or videos were made by ICface Live: by the invisible watermark, the visible "
        "mark, metadata and Content Credentials. Nothing found does not mean that a picture is genuine.",
        epilog="example:\n  icface-live check out.mp4 portrait.png\n\n"
        "exit codes: 0 every file was made by ICface Live, 1 a file cannot be read, 3 of a file nothing says so",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a picture or a video")
    return p


def _line(text: str) -> str:
    """What a file says may have lines of its own."""
    return printable(" ".join(text.split()))


def _check(flags: argparse.Namespace) -> int:
    from icface.errors import ICFaceError
    from realtime.check import check

    code = 0
    for path in flags.files:
        try:
            report = check(path)
        except ICFaceError as error:
            print_error(str(error))
            code = 1
            continue
        said = "made by ICface Live" if report.is_ours else "nothing says that ICface Live made it"
        print(_line(f"{path}: {said}"))
        for line in report.lines():
            print(f"  {_line(line)}")
        if not report.is_ours:
            code = code or 3
    return code


def main(argv: Sequence[str]) -> int:
    """Run the command; gives its exit code."""
    return run_command(parser(), _check, argv)
