"""NVIDIA GPUs: what the engines `tensorrt` and `tensorrt_rtx` share. No library is imported before it is used."""
