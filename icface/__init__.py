"""ICface Live: a photo driven by twenty readable numbers. The shared core."""
