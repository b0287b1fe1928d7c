"""Recordings that begin and end while the run goes on: a video and, beside it, what made it.

That is the attributes of each picture, and the changes of control (see `Recorder`).
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, suppress
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from icface.arrays import Frame
from icface.errors import ICFaceError
from realtime.control import Control
from realtime.disclosure import Provenance
from realtime.recorder import Recorder
from realtime.renderer import Renderer
from realtime.sinks import TICK_S, Sink, SinkSettings, create_sink

if TYPE_CHECKING:
    from realtime.step import Reenactment

logger = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 10.0


def recordings_folder() -> Path:
    """Where recordings are kept."""
    return platformdirs.user_data_path("icface-live", appauthor=False) / "recordings"


class Recordings:
    """Begins and ends recordings, from any thread. The loop never waits for a file.

    Args:
        control: of the run.
        renderer: makes the pictures.
        fps: that they are meant to have.
        folder: takes the files, NAME.mp4 and NAME.csv, named by the time.
        provenance: goes into the videos.
    """

    def __init__(
        self, control: Control, renderer: Renderer, fps: Fraction, folder: Path, provenance: Provenance
    ) -> None:
        self._control = control
        self._renderer = renderer
        self._fps = fps
        self.folder = folder
        self.provenance = provenance
        self._lock = threading.Lock()
        self._begun: Recording | None = None

    @property
    def current(self) -> Recording | None:
        """The one that runs; None where there is none, or it was lost."""
        begun = self._begun
        return begun if begun is not None and begun.error is None else None

    def begin(self) -> Recording:
        """Begin; raises ICFaceError where one runs already or its files cannot be written."""
        with self._lock:
            if (current := self.current) is not None:
                raise ICFaceError(f"{current.path.name} is being recorded already")
            recording = Recording(self.folder, self.provenance)
            recording.open(*self._renderer.size_px, self._fps)
            self._begun = recording
        self._control.ask(recording.listen)
        logger.info("recording: %s", recording.path)
        return recording

    def end(self) -> Recording:
        """End the one that runs; `finished` of it is set when its files are whole. Raises ICFaceError where none runs."""
        with self._lock:
            recording, self._begun = self.current, None
        if recording is None:
            raise ICFaceError("nothing is being recorded")

        def take_out(reenactment: Reenactment) -> None:
            reenactment.outputs.remove(recording)
            threading.Thread(target=recording.complete, name="finish a recording", daemon=True).start()

        self._control.ask(take_out)
        return recording

    def toggle(self) -> None:
        """Begin or end, as a key does; an error is a line."""
        try:
            if self.current is None:
                self.begin()
            else:
                self.end()
        except ICFaceError as error:
            logger.warning("%s", error)


class Recording(Sink):
    """Writes a video and a table. Any thread opens and closes it; the loop only sends."""

    name = "recording"
    is_file = True

    def __init__(self, folder: Path, provenance: Provenance) -> None:
        super().__init__(SinkSettings())
        self._folder = folder
        self._provenance = provenance
        self._reenactment: Reenactment | None = None
        self._video: Sink | None = None
        self._table: Recorder | None = None
        self._sent = False
        """Whether there is a picture in it."""
        self._closing = threading.Lock()
        self.path = folder
        """Of the video."""
        self.began_s = time.monotonic()
        self.finished = threading.Event()
        self.error: ICFaceError | None = None
        """What it was lost of."""

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ICFaceError(f"cannot record into {self._folder}: {error.strerror or error}") from error
        stem = base = f"{datetime.now():%Y-%m-%d %H.%M.%S}"
        number = 1
        while (self._folder / f"{stem}.csv").exists():
            number += 1
            stem = f"{base} ({number})"
        self.path = self._folder / f"{stem}.mp4"
        settings = SinkSettings(path=self.path, live=True, provenance=self._provenance)
        with ExitStack() as stack:
            video = create_sink("video_file", settings)
            video.open(width_px, height_px, fps, time_base)
            stack.callback(video.close)
            self._table = Recorder(self.path.with_suffix(".csv"))
            stack.pop_all()
        self._video = video

    def listen(self, reenactment: Reenactment) -> None:
        """Take its pictures from the next one on. The loop calls it."""
        self._reenactment = reenactment
        reenactment.outputs.add(self)

    def send(self, frame: Frame, time_s: float) -> None:
        made = self._reenactment
        assert self._video is not None and self._table is not None and made is not None
        try:
            self._video.send(frame, time_s)
            self._sent = True
            self._table.add(made.renderer.attributes, time_s, present=made.present, state=made.control.state)
        except ICFaceError as error:
            self.error = error
            raise

    def describe(self) -> str:
        return f"{self.path}"

    def complete(self) -> None:
        """Close it, and say what it was lost of. It is the body of a thread."""
        with suppress(ICFaceError):  # `error` has it
            self.close()
        if self.error is not None:
            logger.warning("%s", self.error)

    def close(self) -> None:
        """Finish the files, and say where they are. The run's end closes it, too."""
        with self._closing:
            table, self._table = self._table, None
            video, self._video = self._video, None
            try:
                with ExitStack() as stack:
                    if video is not None:
                        stack.callback(video.close)
                    if table is not None:
                        stack.callback(table.close)
                if table is not None and self.error is None:
                    self._conclude()
            except ICFaceError as error:
                self.error = self.error or error
                raise
            finally:
                self.finished.set()

    def _conclude(self) -> None:
        if self._sent:
            logger.info("recorded: %s and its attributes beside it", self.path)
            return
        self.path.with_suffix(".csv").unlink(missing_ok=True)
        self.error = ICFaceError("nothing was recorded: it ended before the next picture was made")
