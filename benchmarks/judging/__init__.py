"""What `benchmarks/quality.py` does: read cases, measure what a model makes of them, and report."""
