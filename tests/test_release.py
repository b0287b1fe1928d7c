"""The release script, with scripted tools in place of those that it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a release is made on Linux or macOS")

CLEAN = {"name": "numpy", "version": "2.0.0", "vulns": []}
SKIPPED = {"name": "pillow", "skip_reason": "Dependency not found on PyPI and could not be audited"}
WEAK = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1"}]}


def release(tmp_path: Path, audit: object, code: int = 0, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script where pip-audit writes that, says that and ends with that code; None: it writes nothing."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(Path(__file__).resolve().parents[1] / "scripts/release", tmp_path / "scripts/release")
    tools = tmp_path / "tools"
    tools.mkdir()
    written = "" if audit is None else json.dumps({"dependencies": audit})
    (tools / "pip_audit.py").write_text(
        "import sys\n"
        "if __name__ == '__main__':\n"
        f"    open(sys.argv[sys.argv.index('--output') + 1], 'w').write({written!r})\n"
        f"    print({said!r}, file=sys.stderr)\n"
        f"    sys.exit({code})\n"
    )
    (tools / "hatchling.py").write_text("import sys\nopen(f'{sys.argv[-1]}/icface_live.whl', 'w').close()\n")
    (tools / "cyclonedx_py.py").write_text("")
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(tools)}
    return subprocess.run(
        [tmp_path / "scripts/release"], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("audit", "last"),
    [
        ([SKIPPED, SKIPPED], "not run: audit (none of the dependencies could be audited)"),
        ([CLEAN, SKIPPED], "not run: audit of pillow"),
        ([], "not run: audit (none of the dependencies could be audited)"),
    ],
)
def test_what_was_not_audited_is_said(tmp_path: Path, audit: list[object], last: str) -> None:
    made = release(tmp_path, audit)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1] == last
    assert (tmp_path / "dist/audit.json").exists() == (CLEAN in audit), (
        "one that audited nothing says nothing"
    )


def test_a_whole_audit_is_no_remark(tmp_path: Path) -> None:
    made = release(tmp_path, [CLEAN])
    assert made.returncode == 0 and "not run" not in made.stdout
    assert "audit.json" in made.stdout, "its hash is among the others"


def test_a_known_weakness_ends_the_release(tmp_path: Path) -> None:
    made = release(tmp_path, [WEAK, SKIPPED], code=1, said="Found 1 known vulnerability in 1 package")
    assert made.returncode == 1 and "known vulnerability" in made.stdout
    assert not (tmp_path / "dist/SHA256SUMS").exists()


def test_no_network_is_said(tmp_path: Path) -> None:
    made = release(tmp_path, None, code=1, said="ConnectionError: no route")
    assert made.returncode == 0
    assert made.stdout.splitlines()[-1] == "not run: audit (ConnectionError: no route)"
