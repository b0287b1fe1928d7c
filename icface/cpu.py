"""The name of the processor, and whether it has instructions for bfloat16."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

_CPUINFO: Final = Path("/proc/cpuinfo")
_BF16: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Linux' names of the instructions: two of x86 and one of ARM."""


def cpu_name() -> str:
    """The name that the system gives, as `AMD Ryzen 7 5800U`; the architecture where it gives none.

    An engine that was compared on one processor is not used on another.
    """
    name = " ".join((_first("model name", "Model") or "").split())
    return name or platform.processor() or platform.machine() or "CPU"


def has_bf16() -> bool | None:
    """Whether the processor has instructions for bfloat16; None where the system does not say.

    Libraries compute in bfloat16 on any processor, but without them several times slower than in float32.
    """
    flags = _first("flags", "Features")
    return None if flags is None else not _BF16.isdisjoint(flags.split())


def _first(*keys: str) -> str | None:
    """The first entry of /proc/cpuinfo that has one of these names and is not empty."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None  # not Linux
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in keys and value.strip():
            return value
    return None
