"""Outputs that are this run's own: no other run of this user writes the same file meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from icface.errors import DeviceError
from icface.source_cache import cache_folder

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold an output for the block. A run that dies lets go.

    The lock is a file in the cache folder, never beside the output. Where no such file can be written, nothing is held.

    Raises:
        DeviceError: another run has it.
    """
    name = hashlib.sha256(str(path.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    lock = None
    for folder in (cache_folder() / "outputs", Path(tempfile.gettempdir()) / "icface-live"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{name}.lock")
            lock.acquire(timeout=0)
            break
        except Timeout:
            raise DeviceError(
                f"{path} is being written by another run; wait for its end, or give another name"
            ) from None
        except (OSError, NotImplementedError) as error:
            logger.debug("outputs cannot be locked in %s: %s", folder, error)
            lock = None
    try:
        yield
    finally:
        if lock is not None:
            # Whoever waits for the lock opens the file anew, so it may go while it is held.
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
            lock.release()
