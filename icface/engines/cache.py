"""Built engines on disk, each under what it was built from and for.

Each engine is a folder in the user's cache (`ICFACE_CACHE_DIR` moves it): `engine.bin`, and `engine.json` that
describes it. A folder appears whole or not at all. A damaged one is removed. Two builders of one engine take turns.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
from filelock import FileLock, Timeout

from icface.bundle import Bundle
from icface.engines.base import ANY, GOLDEN_PSNR_DB, Target
from icface.errors import EngineError, NotBuiltError, RefusedError
from icface.files import replacing_folder
from icface.source_cache import cache_folder

logger = logging.getLogger(__name__)

FORMAT: Final = 1
CONTENT: Final = "engine.bin"
FACTS: Final = "engine.json"
LIMIT_BYTES: Final = 8_000_000_000
GOLDEN_SLACK_DB: Final = 3.0
"""An engine that was accepted below GOLDEN_PSNR_DB may lose this much more, because libraries round differently."""
STALE_S: Final = 24 * 3600
"""An unfinished folder that is older belongs to a build that died."""
KERNELS_STALE_S: Final = 30 * 24 * 3600
"""Compiled kernels without an engine of their name are kept this long. One that was built ahead for several GPUs has
another name than its kernels."""
_KERNELS: Final = ".kernels"


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """Everything that distinguishes one built engine from another."""

    model: str
    """Digest of the bundle with its graphs."""
    backend: str
    precision: str
    target: Target

    @classmethod
    def of(cls, bundle: Bundle, backend: str, precision: str, target: Target) -> EngineKey:
        """The key of a bundle's engine that makes frames."""
        return cls(model=bundle.sha256, backend=backend, precision=precision, target=target)

    @property
    def name(self) -> str:
        """Name of the engine's folder."""
        parts = (self.model, self.backend, self.precision, *asdict(self.target).values())
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{self.backend}-{self.precision}-{digest[:24]}"


@dataclass(frozen=True)
class BuiltEngine:
    """An engine that was found on disk."""

    content: bytes
    facts: Mapping[str, Any]
    """What `store` was given, and the key."""

    @property
    def refused(self) -> str | None:
        """Why it may not be used, where its frames were too far off."""
        return self.facts.get("refused")

    @property
    def golden_floor_db(self) -> float:
        """How well it must give the golden outputs: as any engine, or nearly as its graph where that gave less."""
        graph_db = self.facts.get("golden_psnr_db")
        if graph_db is None or graph_db >= GOLDEN_PSNR_DB:
            return GOLDEN_PSNR_DB
        return float(graph_db) - GOLDEN_SLACK_DB


def find_built(bundle: Bundle, backend: str, precision: str, target: Target) -> BuiltEngine:
    """Find a bundle's engine that was built before for this target, or ahead for GPUs of its kind.

    Raises:
        NotBuiltError: there is none; the line says for what else there is one.
        RefusedError: it was built and refused.
    """
    cache, key = EngineCache(), EngineKey.of(bundle, backend, precision, target)
    built = cache.find(key)
    others = [] if built else cache.others(key)
    for other in others:
        here = (other.library, other.device) == (target.library, ANY)
        if here and target.capability in other.capability.split("+"):
            built = built or cache.find(replace(key, target=other))
    if built is None:
        why = f"there is one for {others[0].describe()}" if others else "none yet"
        raise NotBuiltError(
            f"no {precision} engine of {backend} is built for {bundle.name} here ({why}); run icface-build-engine "
            f"{bundle.path} --backend {backend.replace('_', '-')} --precision {precision}"
        )
    if built.refused:
        raise RefusedError(f"{backend}:{precision} is not used for {bundle.name}: {built.refused}")
    return built


class EngineCache:
    """Built engines by key. Above `limit_bytes` together, those that were used longest ago are removed."""

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = (folder or cache_folder()) / "engines"
        self._limit_bytes = limit_bytes

    def find(self, key: EngineKey) -> BuiltEngine | None:
        """The engine under a key; None where there is none, or it is damaged (then it is removed)."""
        folder = self.folder / key.name
        try:
            facts = msgspec.json.decode((folder / FACTS).read_bytes(), type=dict[str, Any])
            content = (folder / CONTENT).read_bytes()
            if facts.get("format") != FORMAT or facts.get("sha256") != hashlib.sha256(content).hexdigest():
                raise ValueError("it is of another version, or its checksum does not match")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, msgspec.DecodeError) as error:
            logger.warning("the engine in %s is damaged (%s) and has to be built again", folder, error)
            self.drop(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)  # the time of its last use
        return BuiltEngine(content, facts)

    def others(self, key: EngineKey) -> list[Target]:
        """Other targets that the same engine was built for, newest first."""
        found = []
        for folder in self._engines():
            with contextlib.suppress(OSError, msgspec.DecodeError):  # it is being written, or damaged
                other = msgspec.json.decode((folder / FACTS).read_bytes(), type=EngineKey)
                if other != key and replace(other, target=key.target) == key:
                    found.append((folder.stat().st_mtime_ns, other.target))
        return [target for _, target in sorted(found, key=lambda each: each[0], reverse=True)]

    @contextlib.contextmanager
    def building(self, key: EngineKey, timeout_s: float) -> Iterator[None]:
        """Keep other processes from building the same engine during the block. A process that dies lets go."""
        lock = FileLock(self.folder / f"{key.name}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.info("another process is building this engine; waiting for it")
                lock.acquire(timeout=timeout_s)
        except Timeout as error:
            late = f"another process has been building the same engine for {timeout_s:.0f} s; try again later"
            raise EngineError(late) from error
        except OSError as error:
            raise self._cannot_write(error) from error
        try:
            yield
        finally:
            lock.release()

    def store(self, key: EngineKey, content: bytes, facts: Mapping[str, Any]) -> Path:
        """Keep an engine in place of an older one; EngineError where it cannot be written, or finds no room."""
        digest = hashlib.sha256(content).hexdigest()
        document = {"format": FORMAT, **asdict(key), "bytes": len(content), "sha256": digest, **facts}
        target = self.folder / key.name
        try:
            with replacing_folder(target) as folder:
                (folder / CONTENT).write_bytes(content)
                (folder / FACTS).write_bytes(msgspec.json.format(msgspec.json.encode(document)))
        except OSError as error:
            raise self._cannot_write(error, len(content)) from error
        with contextlib.suppress(OSError):  # another process may tidy at the same time
            self._tidy(keep=target)
        return target

    def drop(self, key: EngineKey) -> None:
        """Remove the engine under a key, if there is one."""
        shutil.rmtree(self.folder / key.name, ignore_errors=True)

    def kernels(self, key: EngineKey) -> Path:
        """The file for the kernels that a library compiles where the engine runs."""
        return self.folder / f"{key.name}{_KERNELS}"

    def _engines(self) -> list[Path]:
        return [path for path in self.folder.glob("[!.]*") if path.is_dir()]

    def _tidy(self, keep: Path) -> None:
        """Remove remains of builds that died, the engines that were used longest ago, and kernels without an engine."""
        now_s = time.time()
        for path in self.folder.glob(".*"):  # unfinished files and folders are hidden
            if now_s - path.stat().st_mtime > STALE_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path in self.folder.glob(f"*{_KERNELS}"):
            if now_s - path.stat().st_mtime > KERNELS_STALE_S and not path.with_suffix("").is_dir():
                path.unlink(missing_ok=True)
        total = 0
        for path in sorted(self._engines(), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            total += sum(file.stat().st_size for file in path.iterdir())
            if total > self._limit_bytes and path != keep:
                shutil.rmtree(path)

    def _cannot_write(self, error: OSError, size: int = 0) -> EngineError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"no room for an engine of {size / 1e6:.0f} MB in {self.folder}; free some, or"
        else:
            what = f"cannot write {self.folder}: {error.strerror or error};"
        return EngineError(f"{what} set ICFACE_CACHE_DIR to a folder that can be written")
