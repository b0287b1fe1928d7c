"""What the engines for NVIDIA GPUs share."""
