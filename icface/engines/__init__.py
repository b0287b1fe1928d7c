"""Engines run the steps of a bundle. docs/engines.md describes how they are chosen, checked and built."""

from icface.engines.backends import available
from icface.engines.base import Engine, Outputs, Step, golden_psnr_db
from icface.engines.opening import HostFrames, candidates, needs_build, neutralise, open_engine

__all__ = [
    "Engine",
    "HostFrames",
    "Outputs",
    "Step",
    "available",
    "candidates",
    "golden_psnr_db",
    "needs_build",
    "neutralise",
    "open_engine",
]
