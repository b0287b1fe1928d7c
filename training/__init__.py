"""Data, renderers and training."""
