"""The sink of numbered PNG files: every frame sent becomes one file, with its transparency where there is any."""

from __future__ import annotations

import contextlib
import re
import threading
from fractions import Fraction
from typing import Final

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError
from icface.files import replacing_file
from realtime.sinks import CLOSE_TIMEOUT_S, TICK_S, Sink, SinkSettings
from realtime.slot import Closed, Lane
from realtime.transparency import straight

IN_A_FOLDER: Final = "frame-%06d.png"
_NUMBER: Final = re.compile(r"%(0\d+)?d")
_COMPRESSION: Final = 1
"""Of zlib. The default takes four times as long and saves a tenth."""


class PictureFilesSink(Sink):
    """Writes PNG files. The calling thread copies; the writer thread encodes and writes.

    Raises ConfigError for a missing path, or a name without a place for the number.
    """

    name = "picture_files"
    is_file = True
    takes_alpha = True

    def __init__(self, settings: SinkSettings) -> None:
        if settings.path is None:
            raise ConfigError("the picture sink needs a folder, or a name: --output out-%05d.png")
        path = settings.path / IN_A_FOLDER if settings.path.is_dir() else settings.path
        if path.suffix.lower() != ".png" or len(_NUMBER.findall(path.name)) != 1:
            raise ConfigError(
                f"--output {settings.path}: pictures are numbered; give a folder, or a name such as out-%05d.png"
            )
        super().__init__(settings)
        self._path = path
        self._is_open = False

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        named = re.escape(_NUMBER.sub("\0", self._path.name)).replace(re.escape("\0"), r"\d+")
        try:
            # A shorter run would leave the end of a longer one behind.
            for earlier in [file for file in self._path.parent.iterdir() if re.fullmatch(named, file.name)]:
                if not self._settings.overwrite:
                    raise DeviceError(f"{earlier} is there already; give --overwrite, or another name")
                earlier.unlink()
        except OSError as error:
            raise self._error(error) from error
        self._size_px = (width_px, height_px)
        self._info = PngInfo()
        for key, value in self._settings.provenance.metadata().items():
            self._info.add_itxt(key, value)
        self._info.add_itxt("XML:com.adobe.xmp", self._settings.provenance.xmp().decode())
        self._count = 0
        self._failure: BaseException | None = None
        self._lane: Lane[Frame] = Lane(2)
        self._thread = threading.Thread(target=self._run, name=f"writer {self._path.name}", daemon=True)
        self._thread.start()
        self._is_open = True

    def describe(self) -> str:
        return f"{self._path}: {self._size_px[0]}x{self._size_px[1]} PNG files, no sound"

    def send(self, frame: Frame, time_s: float) -> None:
        if frame.shape[1::-1] != self._size_px or frame.dtype != np.uint8:
            raise ValueError(f"frame {frame.shape} {frame.dtype} sent to files of {self._size_px} px")
        try:
            self._lane.put(straight(frame) if frame.shape[2] == 4 else frame.copy())
        except Closed:  # the writer failed
            self.close()

    def close(self) -> None:
        """Write what is left; raises DeviceError where that fails."""
        if not self._is_open:
            return
        self._is_open = False
        self._lane.close()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            raise self._error(TimeoutError(f"the disk did not take the rest within {CLOSE_TIMEOUT_S:.0f} s"))
        if self._failure is not None:
            raise self._error(self._failure) from self._failure

    def _error(self, error: BaseException) -> DeviceError:
        reason = getattr(error, "strerror", None) or str(error)
        return DeviceError(f"pictures cannot be written to {self._path.parent}: {reason}")

    def _run(self) -> None:
        try:
            with contextlib.suppress(Closed):
                while (frame := self._lane.get()) is not None:
                    self._count += 1
                    with replacing_file(self._path.with_name(self._path.name % self._count)) as unfinished:
                        Image.fromarray(frame).save(
                            unfinished, format="PNG", pnginfo=self._info, compress_level=_COMPRESSION
                        )
                        self._settings.provenance.complete(unfinished, ".png")
        except BaseException as error:  # a thread's top: kept, and raised by the next send or close
            self._failure = error
            self._lane.close()


create = PictureFilesSink
