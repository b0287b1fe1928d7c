"""The libraries that run engines: one file each, found by its name. A new backend is one new file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from icface.engines.base import Backend, BuildingBackend
from icface.errors import ConfigError


def available() -> tuple[str, ...]:
    """Names of all backends."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


def load(name: str) -> Backend:
    """Import a backend, as `tensorrt-rtx` or `tensorrt_rtx`; ConfigError where there is none of that name."""
    name = name.replace("-", "_")
    if name not in available():
        raise ConfigError(f"there is no engine {name!r}; choose from auto, {', '.join(available())}")
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))


def building() -> dict[str, BuildingBackend]:
    """The backends whose engines are built before they run, by name."""
    modules = {name: cast(BuildingBackend, load(name)) for name in available()}
    return {name: module for name, module in modules.items() if hasattr(module, "build")}
