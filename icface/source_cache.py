"""Neutralised sources kept on disk, by content: preparing a photo again costs nothing.

A folder of safetensors files in the user's cache (`ICFACE_CACHE_DIR` overrides it). Files appear whole or not at
all; a damaged one is made again; a folder that cannot be written is done without.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

logger = logging.getLogger(__name__)

Tensors = dict[str, NDArray[np.generic]]

LIMIT_BYTES: Final = 512_000_000
_DIGEST: Final = 32


def cache_folder() -> Path:
    """The user's cache folder of this product."""
    override = os.environ.get("ICFACE_CACHE_DIR")
    return Path(override) if override else Path(platformdirs.user_cache_dir("icface-live", appauthor=False))


class SourceCache:
    """Cache tensors by key.

    Args:
        folder: None takes the user's.
        limit_bytes: the files used longest ago go when all together are larger.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = (folder or cache_folder()) / "sources"
        self._limit_bytes = limit_bytes

    def load(self, key: str) -> Tensors | None:
        """The tensors under a key; None where there are none or they are damaged (then the file goes)."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        try:
            if hashlib.sha256(body).digest() != digest:
                raise ValueError("its checksum does not match")
            tensors = dict(load(body))
        except (ValueError, SafetensorError) as error:
            logger.warning("a cached source is damaged (%s) and is made again", error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            path.touch()  # newest use: the oldest go first
        return tensors

    def store(self, key: str, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        """Keep tensors under a key; what cannot be written is logged and left."""
        body = save({name: np.asarray(value, order="C") for name, value in tensors.items()})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as file:
                temporary = Path(file.name)
                try:
                    file.write(hashlib.sha256(body).digest())
                    file.write(body)
                    file.close()  # Windows renames no open file
                    temporary.replace(self._path(key))
                except OSError:
                    file.close()
                    temporary.unlink(missing_ok=True)
                    raise
        except OSError as error:
            logger.warning("the prepared source is not kept in %s: %s", self._folder, error.strerror or error)
            return
        with contextlib.suppress(FileNotFoundError):  # another process tidies up as well
            self._drop_oldest()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.bin"

    def _drop_oldest(self) -> None:
        # All files: what a killed process left half written counts and goes as well.
        files = [(path, path.stat()) for path in self._folder.iterdir()]
        total = 0
        for path, facts in sorted(files, key=lambda file: file[1].st_mtime_ns, reverse=True):
            total += facts.st_size
            if total > self._limit_bytes:
                path.unlink(missing_ok=True)


def source_key(*parts: object) -> str:
    """A file name for what identifies a prepared source."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:40]
