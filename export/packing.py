"""Write bundles: a folder with the files and a manifest that holds the hash of each."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from icface.bundle import FORMAT_VERSION, MANIFEST, Bundle
from icface.errors import BundleError, ConfigError
from icface.files import replacing_folder

Spec = dict[str, object]


def spec(name: str, dtype: str, *shape: int | str) -> Spec:
    """One tensor as the manifest describes it."""
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def write_bundle(out: Path, entries: dict[str, Any], files: dict[str, bytes]) -> Bundle:
    """Write a bundle's folder, and read it back. It takes the place of an older bundle.

    Args:
        entries: the manifest without `format_version` and `files`.
        files: contents by name.

    Raises:
        ConfigError: it cannot be written, or `out` is something else than a bundle.
    """
    out = out.absolute()
    if out.exists() and not _replaceable(out):
        raise ConfigError(f"{out} is there and is no model bundle; give another --out")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format_version": FORMAT_VERSION, **entries, "files": hashes}
    try:
        with replacing_folder(out) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            Bundle.load(folder)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}; give another --out") from error
    except BundleError as error:
        raise ConfigError(f"what was written does not read back: {error}") from error
    return Bundle.load(out)


def _replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))
