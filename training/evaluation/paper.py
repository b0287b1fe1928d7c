"""The numbers of the paper (arXiv 1904.01909) that stand beside ours in the report."""

from __future__ import annotations

from typing import Final

QUALITY: Final = (("X2Face", 28.89, 39.49), ("ICface", 25.02, 33.08))
"""Table 1: method, CNNIQA of the output, DeepIQA of the output against the source; lower is better."""

PRESENCE: Final = (
    ("X2Face", 64.76, 0.4476),
    ("ICface", 62.86, 0.4185),
    ("GANimation", 61.77, 0.3944),
    ("ICface without neutraliser", 59.88, 0.3759),
    ("DAE", 59.86, 0.3734),
)
"""Table 2: method, balanced accuracy in percent, F; higher is better."""
