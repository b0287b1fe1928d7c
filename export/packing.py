"""Writing bundles: the manifest with every file's hash, and a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from icface.bundle import FORMAT_VERSION, MANIFEST, Bundle
from icface.errors import BundleError, ConfigError

Spec = dict[str, object]


def spec(name: str, dtype: str, *shape: int | str) -> Spec:
    """One tensor as the manifest describes it."""
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def write_bundle(out: Path, entries: dict[str, Any], files: dict[str, bytes]) -> Bundle:
    """Write a bundle's folder, in the place of an older bundle if there is one.

    Args:
        out: the folder.
        entries: the manifest without `format_version` and `files`.
        files: contents by name.

    Returns:
        The bundle, read back and checked.

    Raises:
        ConfigError: it cannot be written, or `out` is something else than a bundle.
    """
    out = out.absolute()
    if out.exists() and not _replaceable(out):
        raise ConfigError(f"{out} is there and is no model bundle; give another --out")
    manifest = {
        "format_version": FORMAT_VERSION,
        **entries,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        for name, content in files.items():
            (unfinished / name).write_bytes(content)
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (unfinished / MANIFEST).write_text(text, encoding="utf-8")
        Bundle.load(unfinished)
        _put(unfinished, out)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}; give another --out") from error
    except BundleError as error:
        raise ConfigError(f"what was written does not read back: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Bundle.load(out)


def _replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))


def _put(folder: Path, out: Path) -> None:
    """Move a folder to where another may be; if that fails, the other is back in its place."""
    if not out.exists():
        folder.rename(out)
        return
    before = out.with_name(f".{out.name}.{os.getpid()}.before")
    out.rename(before)
    try:
        folder.rename(out)
    except OSError:
        before.rename(out)
        raise
    shutil.rmtree(before, ignore_errors=True)
