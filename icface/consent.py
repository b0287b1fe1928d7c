"""The word of the person whom a model shows, that it may be made and used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """Who agreed, and when."""

    who: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """The person's name, in one line."""
    when: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """In UTC, as `2026-11-30T10:00:00Z`."""
    agreed: bool


def consent_problems(consent: Consent) -> Iterator[str]:
    """What is wrong with a consent whose entries are of the right type."""
    if not consent.who.isprintable() or not consent.who.strip():
        yield "'who' of 'consent' should be a name in one line"
    elif not consent.agreed:
        yield f"{consent.who} did not agree to this model ('consent')"
