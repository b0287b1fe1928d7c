"""ICface Live: a photo driven by readable numbers. The shared core."""
