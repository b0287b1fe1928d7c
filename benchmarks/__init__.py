"""Measurements that the published figures come from."""

import os

# As the command does (realtime/cli.py), before anything loads numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
