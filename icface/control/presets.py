"""Presets: states under a name, as TOML files. Some ship; the user's own lie in the configuration folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import platformdirs

from icface.control.state import ControlState
from icface.errors import ConfigError
from icface.files import read_file, write_file

SHIPPED: Final = Path(__file__).parent / "presets"
_MOST_BYTES: Final = 1_000_000
_NAME: Final = re.compile(r"[\w][\w .-]{0,63}")


def folder() -> Path:
    """Where the user's own presets are kept."""
    return platformdirs.user_config_path("icface-live", appauthor=False) / "presets"


def names() -> tuple[str, ...]:
    """All presets: those that ship, then the user's own, each in order. A user's one takes the place of a shipped one."""
    shipped, own = (sorted(path.stem for path in where.glob("*.toml")) for where in (SHIPPED, folder()))
    return tuple(dict.fromkeys([*shipped, *own]))


def load(name: str, base: ControlState) -> ControlState:
    """The state that a preset makes of `base`: a preset says only what it changes, or everything (`whole`).

    Raises:
        ConfigError: there is no such preset, it cannot be read, or it is of a newer version.
    """
    if name not in names():
        raise ConfigError(f"no preset {name!r}; there are {', '.join(names())} (own ones go to {folder()})")
    path = folder() / f"{name}.toml"
    if not path.is_file():
        path = SHIPPED / f"{name}.toml"
    try:
        document = tomllib.loads(read_file(path, _MOST_BYTES).decode("utf-8"))
        return ControlState.from_dict(document, base)
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise ConfigError(f"preset {path}: {error}") from error


def save(name: str, state: ControlState) -> Path:
    """Keep the whole state under a name; gives the file.

    Raises:
        ConfigError: the name is no file's name, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for a preset; use letters, digits, spaces, - and _")
    path = folder() / f"{name}.toml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, as_toml(state.to_dict()))
    except OSError as error:
        raise ConfigError(
            f"preset {name!r} cannot be written to {path}: {error.strerror or error}"
        ) from error
    return path


def as_toml(document: dict[str, Any]) -> str:
    """A state's document as TOML: plain values first, then one line a channel."""
    lines = [f"{name} = {_literal(at)}" for name, at in document.items() if name != "channels"]
    lines += ["", "[channels]"]
    for name, channel in document["channels"].items():
        inside = ", ".join(f"{key} = {_literal(at)}" for key, at in channel.items())
        lines.append(f"{_literal(name)} = {{{inside}}}")
    return "\n".join(lines) + "\n"


def _literal(at: Any) -> str:
    if isinstance(at, bool):
        return "true" if at else "false"
    if isinstance(at, str):
        escaped = "".join(c if c >= " " and c not in '"\\\x7f' else f"\\u{ord(c):04x}" for c in at)
        return f'"{escaped}"'
    return repr(at)
