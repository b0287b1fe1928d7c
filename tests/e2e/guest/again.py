"""Writes to a virtual camera, lets go of it, and writes again: again.py DEVICE."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from realtime.sinks import SinkSettings, open_sink

for number in (1, 2):
    settings = SinkSettings(device=sys.argv[1])
    with open_sink("virtual_camera", settings, width_px=64, height_px=48, fps=Fraction(10)) as sink:
        for index in range(3):
            sink.send(np.full((48, 64, 3), 40 * index, dtype=np.uint8), index, index / 10)
        print(number, sink.describe(), flush=True)
