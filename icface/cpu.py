"""What the processor is called: engines that were measured on one are not taken for another."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """As the system gives it, as `AMD Ryzen 7 5800U`; its architecture where it gives none."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return " ".join(value.split())
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "CPU"
