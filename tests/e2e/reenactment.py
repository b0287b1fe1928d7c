"""What must hold whenever a video drives a photo, and whenever an attribute is swept."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icface.arrays import Array, Frame
from icface.attributes import INDEX, POSE_NAMES, neutral
from icface.face.action_units import baseline_of, measure_attributes
from icface.face.landmarks import LandmarkDetector, Landmarks, open_detector
from icface.reenactor import Reenactor
from tests.e2e.measuring import (
    correlation,
    frame_rate,
    icface_live,
    loudness,
    measure_video,
    pad_by_half,
    with_beeps,
)

SWEPT = ("pitch", "yaw", "roll", "AU01", "AU02", "AU04", "AU12", "AU25", "AU26", "AU45")
STEPS = 9
POSE_REACH = 0.2  # of the range to either side: 16°, where geometry alone convinces


def check_driven_file(source: Path, driver: Path, folder: Path) -> None:
    """A photo driven from file to file: complete, in order, with its sound, with a face that follows."""
    sound = loudness(driver)
    if not sound.size or np.ptp(sound) < 1e-3:  # none, or a silent track
        driver = with_beeps(driver, folder / "driver.mp4")
    output = folder / "out.mp4"
    result = icface_live("--source", source, "--camera", driver, "--output", output)
    assert result.returncode == 0, result.stderr

    with closing(open_detector(video=True)) as detector:
        drove = measure_video(driver, detector, pad=False)
    with closing(open_detector(video=True)) as detector:
        shown = measure_video(output, detector, pad=True)
    assert len(shown.found) == len(drove.found), "every driver frame once"
    assert frame_rate(output) == frame_rate(driver)
    assert shown.found.mean() >= 0.99, f"a face in only {shown.found.mean():.1%} of the output"
    both = shown.found & drove.found
    for name in ("pitch", "yaw"):
        column = INDEX[name]
        r = correlation(drove.attributes[both, column], shown.attributes[both, column])
        assert r >= 0.9, f"{name} of the output follows the driver with r = {r:.3f} only"

    heard, expected = loudness(output), loudness(driver)
    assert abs(len(heard) - len(expected)) <= 2, "the sound is longer or shorter than the driver's"
    n = min(len(heard), len(expected))
    assert correlation(heard[:n], expected[:n]) >= 0.95, "not the driver's sound, or not at its time"


def requested(name: str) -> NDArray[np.float32]:
    """The values an attribute is swept through."""
    if name in POSE_NAMES:
        return np.linspace(0.5 - POSE_REACH, 0.5 + POSE_REACH, STEPS, dtype=np.float32)
    return np.linspace(0.0, 1.0, STEPS, dtype=np.float32)


class Viewer:
    """Measures output frames as a tracker does that follows the face and knows its neutral.

    In a still the face is looked for; a tracker looks again at where the face was, which reads lids and lips
    better. So every frame is shown three times. Action Units are relative to the output's own neutral frame:
    how wide a person's mouth or how long the chin is says nothing about expression.
    """

    def __init__(self, detector: LandmarkDetector, neutral_frame: Frame) -> None:
        self._detector = detector
        self._time_s = 0.0
        landmarks = self._look(neutral_frame)
        self._baseline = baseline_of(landmarks)

    def _look(self, frame: Frame) -> Landmarks:
        padded = pad_by_half(frame)
        for _ in range(3):
            self._time_s += 0.04
            faces = self._detector.detect(padded, self._time_s)
        assert faces, "no face in the output"
        return faces[0]

    def measure(self, frame: Frame) -> NDArray[np.float32]:
        """(20,)"""
        return measure_attributes(self._look(frame), self._baseline)


def ranks(values: ArrayLike) -> Array:
    """The place of each value in the order of all; equal values share the mean of their places."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def check_sweep(reenactor: Reenactor) -> None:
    """More asked for is more shown, attribute by attribute, for the source that is set."""
    weak = []
    with closing(open_detector(video=True)) as detector:
        viewer = Viewer(detector, reenactor.animate(neutral()))
        for name in SWEPT:
            answers = []
            for value in requested(name):
                attributes = neutral()
                attributes[INDEX[name]] = value
                answers.append(viewer.measure(reenactor.animate(attributes))[INDEX[name]])
            rho = correlation(ranks(requested(name)), ranks(answers)) if np.ptp(answers) > 0 else 0.0
            if not rho >= 0.9:
                weak.append(f"{name}: Spearman {rho:.2f}, measured {' '.join(f'{a:.2f}' for a in answers)}")
    assert not weak, "\n".join(weak)
