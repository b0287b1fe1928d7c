"""Checks of what makes the pictures: engines and the face tracker, on a face that comes along."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from icface.attributes import INDEX, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.engines.opening import candidates
from icface.errors import EngineError, NotBuiltError
from icface.face.landmarks import open_detector
from icface.images import load_photo
from icface.reenactor import Reenactor
from realtime.doctor import FAILED, NOTE, OK, Finding
from realtime.engine import THREADS

FACE: Final = Path(__file__).parent / "face.jpg"
"""A face of 170 pixels in a picture of 320; AI-generated, a part of examples/source.jpg."""
POINTS_PX: Final = {33: (104.8, 132.7), 263: (215.1, 131.6), 61: (128.8, 215.0), 291: (192.6, 215.6)}
"""Where four of its landmarks are: the outer corners of the eyes and those of the mouth."""
WITHIN_PX: Final = 2.5
FRAMES: Final = 60
LONGEST_S: Final = 2.0
"""A slow machine makes fewer frames: it stops then."""
SIZE_PX: Final = 512
LEAST_FPS: Final = 30


def engines() -> Iterator[Finding]:
    """Whether each engine gives the golden frame, and how long it takes for a frame."""
    cv2.setNumThreads(1)  # as in a run
    bundle = Bundle.load(DEFAULT_BUNDLE)
    works = False
    for name in candidates(bundle):
        try:
            with closing(Reenactor(bundle, name, SIZE_PX, THREADS)) as reenactor:
                frame_ms = _frame_ms(reenactor)
                described = reenactor.describe().removeprefix("engine: ")
                found = f"{name}: {described}, {frame_ms:.1f} ms for a frame of {SIZE_PX}x{SIZE_PX}"
        except NotBuiltError:
            backend = name.partition(":")[0].replace("_", "-")
            remedy = (
                f"a run builds it in the background; to have it now: icface-build-engine --backend {backend}"
            )
            yield Finding(check="engine", state=NOTE, found=f"{name}: not built yet", remedy=remedy)
        except EngineError as error:
            remedy = "others are used instead; to mend it, install its package again"
            yield Finding(check="engine", state=NOTE, found=f"{name}: {error}", remedy=remedy)
        else:
            slow = "" if works or frame_ms * LEAST_FPS < 1000 else "take --quality fast, or --size 256"
            works = True
            yield Finding(check="engine", state=NOTE if slow else OK, found=found, remedy=slow)
    if not works:
        remedy = "install icface-live again"
        yield Finding(check="engine", state=FAILED, found="no engine works here", remedy=remedy)


def _frame_ms(reenactor: Reenactor) -> float:
    """Milliseconds for a frame of the face that comes along, smiling and turning."""
    reenactor.set_source(reenactor.prepare_source(load_photo(FACE)))
    attributes = neutral()

    def animate(number: int) -> None:
        attributes[INDEX["AU12"]] = number % 10 / 10
        attributes[INDEX["yaw"]] = 0.45 + number % 7 / 70
        reenactor.animate(attributes)

    return middle_ms(animate)


def middle_ms(work: Callable[[int], object]) -> float:
    """Milliseconds that `work` takes, told its number: the middle of FRAMES, or of what LONGEST_S has room for."""
    took_s: list[float] = []
    while len(took_s) < FRAMES and sum(took_s) < LONGEST_S:
        start_s = time.perf_counter()
        work(len(took_s))
        took_s.append(time.perf_counter() - start_s)
    return float(np.median(took_s)) * 1e3


def tracker() -> Iterator[Finding]:
    """Whether the tracker finds the face that comes along where it is, and how long it takes for a frame."""
    cv2.setNumThreads(1)
    frame = load_photo(FACE).frame
    with closing(open_detector(video=True)) as detector:
        faces = detector.detect(frame, 0.0)
        frame_ms = middle_ms(lambda number: detector.detect(frame, number / 30))
    if not faces:
        remedy = "install icface-live again"
        yield Finding(check="tracker", state=FAILED, found="the built-in face is not found", remedy=remedy)
        return
    points = faces[0].points_px[list(POINTS_PX), :2]
    off_px = float(np.abs(points - np.array(list(POINTS_PX.values()))).max())
    found = f"finds the built-in face within {off_px:.1f} pixels, {frame_ms:.1f} ms a frame"
    wrong = off_px > WITHIN_PX
    remedy = "its networks run wrongly here: install openvino again" if wrong else ""
    yield Finding(check="tracker", state=FAILED if wrong else OK, found=found, remedy=remedy)
