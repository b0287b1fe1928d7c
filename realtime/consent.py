"""Consent: before a photo is used for the first time, its user says that the person in it agreed.

The answer is kept beside the cache, by the hash of the photo's file. No picture and no name is kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from icface.errors import ConfigError, SourceError
from icface.files import read_file, write_file
from icface.images import MAX_FILE_BYTES, load_photo
from icface.source_cache import cache_folder

logger = logging.getLogger(__name__)

NOBODY: Final = frozenset(
    {
        "f12f1f0d1b4098e3481a5fb112fdb74c02491b202fd519707093e0aab8a44853",  # source.jpg
        "f2b5fcd10e5a91d3ee9c91c3a39d9f98ad0862adeb07042dab17e1dbdda5ad8f",  # rendered.jpg
    }
)
"""Hashes of the photos in examples/. Their people do not exist."""
_QUESTION: Final = "{}: is this you, did this person agree, or does nobody look like this?"


def check_consent(photos: Sequence[Path], given: str, ask: Callable[[str], bool] | None = None) -> None:
    """Make sure that each photo may be used, and remember it.

    Args:
        photos: files; those that are missing or no photos are passed over, because preparing them says so.
        given: the flag's value: `yes` answers for all photos, `ask` asks.
        ask: puts a question to the user and gives the answer; None where nobody can answer. Then a line says what is
            taken for granted, the photo is used, and nothing is kept.

    Raises:
        ConfigError: the answer is no.
    """
    for path in photos:
        try:
            digest = hashlib.sha256(read_file(path, MAX_FILE_BYTES)).hexdigest()
        except OSError:
            continue
        kept = cache_folder() / "consent" / digest
        if digest in NOBODY or kept.is_file():
            continue
        try:
            load_photo(path)
        except SourceError:
            continue
        if given != "yes":
            if ask is None:
                logger.info(
                    "%s: taken as yours, or of somebody who agreed; --consent yes says so for good", path.name
                )
                continue
            if not ask(_QUESTION.format(path.name)):
                raise ConfigError(
                    f"{path} is not used without consent; take a photo of yourself, of somebody who agreed, or of a face "
                    "that nobody has"
                )
        try:
            write_file(kept, "yes\n")
        except OSError as error:
            logger.warning("the consent is not kept in %s: %s", kept.parent, error.strerror or error)
