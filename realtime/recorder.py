"""Writes the attributes that really drove into a CSV. Read back with `--driver`, they make the same frames.

Beside it, NAME.control.jsonl holds the state of control: a line when the recording begins, and one for each change.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from icface import attributes
from icface.attributes import FloatArray
from icface.control.state import ControlState
from icface.errors import ConfigError, ICFaceError


class Recorder:
    """Writes row by row: a run of any length needs no memory, and a crash loses little."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first_s: float | None = None
        self._rows = 0
        try:
            self._file = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write attributes to {path}: {error.strerror or error}") from error
        self._state: ControlState | None = None
        self.control_path = path.with_suffix(".control.jsonl")
        self._writer = csv.writer(self._file)
        self._writer.writerow(("frame", "timestamp", "success", *attributes.ALL_NAMES))

    def add(
        self, values: FloatArray, time_s: float, *, present: bool, state: ControlState | None = None
    ) -> None:
        """Append (SIZE,) values shown at `time_s`.

        `present` is whether a driver's face was seen then, and `state` what made the values of the driver's.

        Raises ICFaceError when the disk is full or gone.
        """
        if self._first_s is None:
            self._first_s = time_s
        self._rows += 1
        # repr of the float32 as a float64 is exact, so a replay gives the same bits.
        cells = [repr(float(value)) for value in values]
        try:
            self._writer.writerow([self._rows, f"{time_s - self._first_s:.6f}", int(present), *cells])
            if state is not None and state is not self._state:
                mode = "w" if self._state is None else "a"
                self._state = state
                line = {"time_s": round(time_s - self._first_s, 6), "state": state.to_dict()}
                with self.control_path.open(mode, encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise self._lost(error) from error

    def close(self) -> None:
        """Finish the file; raises as `add`."""
        try:
            self._file.close()
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> ICFaceError:
        return ICFaceError(f"attributes can no longer be written to {self._path}: {error.strerror or error}")
