"""What is read from the system about the processor."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from icface import cpu

X86 = """processor\t: 0
model name\t: AMD  Ryzen 7
flags\t\t: fpu avx2 {more}

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
Features\t: fp asimd {more}

Model\t\t: Raspberry Pi 5
"""


@pytest.mark.parametrize(
    ("text", "name", "bf16"),
    [
        (X86.format(more="avx512_bf16"), "AMD Ryzen 7", True),
        (X86.format(more="amx_bf16"), "AMD Ryzen 7", True),
        (X86.format(more="avx512f"), "AMD Ryzen 7", False),
        (ARM.format(more="bf16"), "Raspberry Pi 5", True),
        (ARM.format(more="svebf16x"), "Raspberry Pi 5", False),
    ],
)
def test_what_linux_says(
    text: str, name: str, bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "cpuinfo")
    assert (cpu.cpu_name(), cpu.has_bf16()) == (name, bf16)


def test_where_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert (cpu.cpu_name(), cpu.has_bf16()) == ("arm64", None)
