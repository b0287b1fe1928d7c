"""Prepared sources kept on disk by their content, so that preparing a photo again costs nothing.

They are safetensors files in the user's cache folder, or in `ICFACE_CACHE_DIR`. A damaged file is made again. Where no
folder can be written, every photo is prepared anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path
from typing import Final

import numpy as np
import platformdirs
from safetensors.numpy import save

from icface.arrays import Tensors
from icface.files import replacing_file
from icface.tensors import read_tensors

logger = logging.getLogger(__name__)

LIMIT_BYTES: Final = 512_000_000
_DIGEST: Final = 32


def cache_folder() -> Path:
    """The user's cache folder of this product."""
    override = os.environ.get("ICFACE_CACHE_DIR")
    return Path(override) if override else Path(platformdirs.user_cache_dir("icface-live", appauthor=False))


class SourceCache:
    """Cache tensors by key, in the user's folder unless another is given.

    When all files together have more than `limit_bytes`, those used longest ago are deleted.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = (folder or cache_folder()) / "sources"
        self._limit_bytes = limit_bytes

    def load(self, key: str) -> Tensors | None:
        """The tensors under a key; None where there are none. A damaged file is deleted."""
        path = self._folder / f"{key}.bin"
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        try:
            if hashlib.sha256(body).digest() != digest:
                raise ValueError("its checksum does not match")
            tensors = read_tensors(body)
        except ValueError as error:
            logger.warning("a cached source is damaged (%s) and is made again", error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            path.touch()  # its time is that of its last use
        return tensors

    def store(self, key: str, tensors: Tensors) -> None:
        """Keep tensors under a key. A failure to write is logged and does no harm."""
        body = save({name: np.asarray(value, order="C") for name, value in tensors.items()})
        try:
            with replacing_file(self._folder / f"{key}.bin") as unfinished:
                unfinished.touch(0o600)  # faces are for their user alone
                unfinished.write_bytes(hashlib.sha256(body).digest() + body)
        except OSError as error:
            logger.warning("the prepared source is not kept in %s: %s", self._folder, error.strerror or error)
            return
        with contextlib.suppress(FileNotFoundError):  # another process may tidy up at the same time
            # Half-written files that a killed process left are counted and deleted like the others.
            files = [(path.stat(), path) for path in self._folder.iterdir()]
            total = 0
            for facts, path in sorted(files, key=lambda file: file[0].st_mtime_ns, reverse=True):
                total += facts.st_size
                if total > self._limit_bytes:
                    path.unlink(missing_ok=True)


def source_key(*parts: object) -> str:
    """A file name made of everything that a prepared source depends on."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:40]
