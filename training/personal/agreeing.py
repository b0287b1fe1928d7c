"""Asks whether the person agrees that a generator of this face is made."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from icface.consent import Consent, consent_problems
from icface.errors import ConfigError, ICFaceError

_NEEDED: Final = (
    "a generator of a person is made with that person's consent, and nobody can be asked here: give "
    '--consent yes --person "NAME" once the person has agreed'
)
_QUESTION: Final = (
    "{who}: are you this person, or did this person agree that a generator of this face is made and used?"
)
_LONGEST: Final = 200


def ask_consent(given: str, who: str | None) -> Consent:
    """The consent, from the flags or from the terminal.

    Args:
        given: `yes`: the person agreed; `ask`: that is asked on the terminal.
        who: the person's name; None: it is asked.

    Raises:
        ConfigError: the person does not agree, there is no name, or nobody can be asked.
        ICFaceError: stopped by Ctrl-C.
    """
    asks = all(stream and stream.isatty() for stream in (sys.stdin, sys.stderr))
    if not asks and (given != "yes" or who is None):
        raise ConfigError(_NEEDED)
    if who is None:
        who = _asked("Whose face is it? Name:")
    who = " ".join(who.split())
    if not who or len(who) > _LONGEST:
        raise ConfigError(f"--person: a name of up to {_LONGEST} characters is needed")
    if given != "yes" and _asked(f"{_QUESTION.format(who=who)} [y/N]").lower() not in ("y", "yes"):
        raise ConfigError(f"nothing is made without the consent of {who}")
    consent = Consent(who=who, when=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", agreed=True)
    for problem in consent_problems(consent):
        raise ConfigError(f"--person: {problem}")
    return consent


def _asked(question: str) -> str:
    print(question, end=" ", file=sys.stderr, flush=True)
    try:
        with _ends_at_once():
            return sys.stdin.readline().strip()
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the question's line ends here
        raise ICFaceError("stopped at the question; nothing was made") from None


@contextlib.contextmanager
def _ends_at_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt. After the handlers of `realtime.process.signals` Python reads on."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
