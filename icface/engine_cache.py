"""Built engines kept on disk, each under what it was built from and for.

One folder an engine, in the user's cache (`ICFACE_CACHE_DIR` overrides it): `engine.bin`, and `engine.json` that says
what it is. A folder appears whole or not at all; a damaged one goes; two builders of one engine wait for each other.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from icface.building import Target, not_built
from icface.bundle import Bundle
from icface.engines import GOLDEN_PSNR_DB, GOLDEN_SLACK_DB
from icface.errors import EngineError, RefusedError
from icface.source_cache import cache_folder

logger = logging.getLogger(__name__)

FORMAT: Final = 1
CONTENT: Final = "engine.bin"
FACTS: Final = "engine.json"
LIMIT_BYTES: Final = 8_000_000_000
STALE_S: Final = 24 * 3600
"""So old is nothing that is still being written."""
KERNELS_STALE_S: Final = 30 * 24 * 3600
"""So long are kernels kept that no engine here has the name of: one built ahead for several GPUs has another name."""
_PART: Final = ".part"
_KERNELS: Final = ".kernels"


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """Everything that makes one built engine another one."""

    model: str
    """Digest of the bundle, graphs included."""
    backend: str
    """Module of `icface/engines/`."""
    precision: str
    target: Target

    @classmethod
    def of(cls, bundle: Bundle, backend: str, precision: str, target: Target) -> EngineKey:
        """The key of a bundle's engine that makes frames."""
        return cls(model=bundle.sha256, backend=backend, precision=precision, target=target)

    @property
    def name(self) -> str:
        """Of its folder."""
        parts = (self.model, self.backend, self.precision, *_target_facts(self.target).values())
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{self.backend}-{self.precision}-{digest[:24]}"


@dataclass(frozen=True)
class BuiltEngine:
    """An engine as it was found."""

    content: bytes
    facts: Mapping[str, Any]
    """What `store` was given, and the key."""

    @property
    def refused(self) -> str:
        """Why it may not be used, where it gave frames that were too far off; else empty."""
        return str(self.facts.get("refused") or "")

    @property
    def golden_floor_db(self) -> float:
        """How well it must give the golden outputs now: what was accepted, less GOLDEN_SLACK_DB."""
        value = self.facts.get("golden_psnr_db")
        accepted = float(value) if isinstance(value, int | float) else GOLDEN_PSNR_DB
        return min(GOLDEN_PSNR_DB, accepted - GOLDEN_SLACK_DB)


def find_built(bundle: Bundle, backend: str, precision: str, target: Target) -> BuiltEngine:
    """A bundle's engine that was built before.

    Raises:
        NotBuiltError: there is none; the line says for what else there is one.
        RefusedError: it was built and refused.
    """
    cache, key = EngineCache(), EngineKey.of(bundle, backend, precision, target)
    built = cache.find(key)
    if built is None:
        others = cache.others(key)
        if others:
            logger.info("%s:%s: the engine that is there is for %s", backend, precision, others[0].describe())
        why = f"there is one for {others[0].describe()}" if others else "none yet"
        raise not_built(bundle, backend, precision, why)
    if built.refused:
        raise RefusedError(f"{backend}:{precision} is not used for {bundle.name}: {built.refused}")
    return built


class EngineCache:
    """Built engines by key.

    Args:
        folder: None takes the user's.
        limit_bytes: the engines used longest ago go when all together are larger.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = (folder or cache_folder()) / "engines"
        self._limit_bytes = limit_bytes

    def find(self, key: EngineKey) -> BuiltEngine | None:
        """The engine under a key; None where there is none, or it is damaged (then it goes)."""
        folder = self.folder / key.name
        if not folder.is_dir():
            return None
        try:
            facts = json.loads((folder / FACTS).read_bytes())
            content = (folder / CONTENT).read_bytes()
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise ValueError("its description is of another version")
            if facts.get("sha256") != hashlib.sha256(content).hexdigest():
                raise ValueError("its checksum does not match")
        except FileNotFoundError:
            return None  # another process is replacing it
        except (OSError, ValueError) as error:
            logger.warning("the engine in %s is damaged (%s) and has to be built again", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)  # newest use: the oldest go first
        return BuiltEngine(content, facts)

    def others(self, key: EngineKey) -> list[Target]:
        """What the same engine was built for besides, newest first: another GPU, another version."""
        found = []
        for folder in self._engines():
            try:
                facts = json.loads((folder / FACTS).read_bytes())
                known = {"model": key.model, "backend": key.backend, "precision": key.precision}
                if {name: facts[name] for name in known} == known and folder.name != key.name:
                    target = Target(
                        **{name: str(facts["target"][name]) for name in _target_facts(key.target)}
                    )
                    found.append((folder.stat().st_mtime_ns, target))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # being written, or damaged: of no use for a message
        return [target for _, target in sorted(found, key=lambda item: item[0], reverse=True)]

    @contextlib.contextmanager
    def building(self, key: EngineKey, timeout_s: float) -> Iterator[None]:
        """Keep other processes from building the same engine meanwhile. A process that dies lets go.

        Raises:
            EngineError: another process was still building after `timeout_s`, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key.name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.info("another process is building this engine; waiting for it")
                lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise EngineError(
                f"another process has been building the same engine for {timeout_s:.0f} s; try again later"
            ) from error
        except OSError as error:
            raise self._cannot_write(error) from error
        try:
            yield
        finally:
            lock.release()

    def store(self, key: EngineKey, content: bytes, facts: Mapping[str, Any]) -> Path:
        """Keep an engine, in the place of an older one under the same key. Gives its folder.

        Raises:
            EngineError: there is no room for it, or the folder cannot be written.
        """
        description = {
            "format": FORMAT,
            "model": key.model,
            "backend": key.backend,
            "precision": key.precision,
            "target": _target_facts(key.target),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            **facts,
        }
        target = self.folder / key.name
        unfinished: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=f"{key.name}.", suffix=_PART, dir=self.folder))
            (unfinished / CONTENT).write_bytes(content)
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (unfinished / FACTS).write_text(text, encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            unfinished.rename(target)
        except OSError as error:
            raise self._cannot_write(error, len(content)) from error
        finally:
            if unfinished is not None:
                shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process tidies up as well
            self._tidy(keep=target)
        return target

    def drop(self, key: EngineKey) -> None:
        """Forget the engine under a key, if there is one."""
        shutil.rmtree(self.folder / key.name, ignore_errors=True)

    def kernels(self, key: EngineKey) -> Path:
        """The file for what a library compiles where the engine runs."""
        return self.folder / f"{key.name}{_KERNELS}"

    def _engines(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.is_dir() and path.suffix != _PART]
        except OSError:
            return []

    def _tidy(self, keep: Path) -> None:
        """Drop what builds that died left behind, the engines used longest ago, and old kernels of none that is here."""
        for path in self.folder.glob(f"*{_PART}"):
            if time.time() - path.stat().st_mtime > STALE_S:
                shutil.rmtree(path, ignore_errors=True)
        total = 0
        for path in sorted(self._engines(), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            total += sum(file.stat().st_size for file in path.iterdir())
            if total > self._limit_bytes and path != keep:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"*{_KERNELS}"):
            old = time.time() - path.stat().st_mtime > KERNELS_STALE_S
            if old and not path.with_suffix("").is_dir():
                path.unlink(missing_ok=True)

    def _cannot_write(self, error: OSError, size: int = 0) -> EngineError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EngineError(
                f"no room for an engine of {size / 1e6:.0f} MB in {self.folder}; free some, or set "
                "ICFACE_CACHE_DIR to a folder that has it"
            )
        return EngineError(
            f"cannot write {self.folder}: {error.strerror or error}; set ICFACE_CACHE_DIR to a folder that can be written"
        )


def _target_facts(target: Target) -> dict[str, str]:
    return {"library": target.library, "device": target.device, "capability": target.capability}
