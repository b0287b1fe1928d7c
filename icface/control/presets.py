"""Presets: states under a name, as TOML files. Some ship; the user's own lie in the configuration folder."""

from __future__ import annotations

from pathlib import Path

from icface.control.state import ControlState


def folder() -> Path:
    """Where the user's own presets are kept."""
    raise NotImplementedError


def names() -> tuple[str, ...]:
    """All presets: those that ship, then the user's own in the order of their names. A user's one hides a shipped one."""
    raise NotImplementedError


def load(name: str, base: ControlState) -> ControlState:
    """The state that a preset makes of `base`: a preset says only what it changes, or everything (`whole`).

    Raises:
        ConfigError: there is no such preset, it cannot be read, or it is of a newer version.
    """
    raise NotImplementedError


def save(name: str, state: ControlState) -> Path:
    """Keep the whole state under a name; gives the file.

    Raises:
        ConfigError: the name is no file's name, or the file cannot be written.
    """
    raise NotImplementedError
