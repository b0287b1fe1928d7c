"""Writes to a virtual camera, lets go of it, and writes again: again.py DEVICE."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from realtime.sinks import SinkSettings, create_sink

for number in (1, 2):
    settings = SinkSettings(device=sys.argv[1])
    with create_sink("virtual_camera", settings) as sink:
        sink.open(64, 48, Fraction(10))
        for index in range(3):
            sink.send(np.full((48, 64, 3), 40 * index, dtype=np.uint8), index / 10)
        print(number, sink.describe(), flush=True)
