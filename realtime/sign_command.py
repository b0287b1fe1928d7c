"""`icface-live sign`: makes a key, and signs a model with it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from icface.command import Parser, run_command
from icface.errors import ConfigError

_EXAMPLES = """\
examples:
  icface-live sign --new-key mine.pem              makes mine.pem (secret) and mine.public.pem (to give away)
  icface-live sign my.icface --key mine.pem        writes my.icface/signature.json
  icface-live me.jpg --model my.icface --require-signature mine.public.pem
"""


def parser() -> Parser:
    """All flags."""
    p = Parser(
        prog="icface-live sign",
        usage="icface-live sign BUNDLE --key KEY.pem\n       icface-live sign --new-key KEY.pem",
        description="Sign a model, so that others can tell that it is yours and unchanged.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="a model's folder")
    p.add_argument("--key", type=Path, metavar="KEY.pem", help="your private key")
    p.add_argument(
        "--new-key", type=Path, metavar="KEY.pem", help="make a key: this file, and a public one beside it"
    )
    p.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv: tracebacks")
    return p


def _run(flags: argparse.Namespace) -> None:
    if (flags.new_key is None) == (flags.bundle is None) or (flags.bundle is None) != (flags.key is None):
        raise ConfigError("give BUNDLE and --key KEY.pem to sign, or --new-key KEY.pem to make a key")
    from icface import signing

    if flags.new_key is not None:
        public = signing.new_key(flags.new_key.expanduser())
        print(
            f"{flags.new_key} is secret: keep it to yourself. Give away {public}; it is trusted by those who"
        )
        print(f"copy it into {signing.trusted_folder()}")
        return
    from icface.bundle import Bundle

    path = flags.bundle.expanduser()
    bundle = Bundle.load(path)
    fingerprint = signing.sign(path, bundle.sha256, flags.key.expanduser())
    print(f"{path} is signed by the key {fingerprint}; it covers {len(bundle.hashes) + 1} files")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 or 2 as `--help` says, with one line where something failed."""
    return run_command(parser(), _run, argv)
