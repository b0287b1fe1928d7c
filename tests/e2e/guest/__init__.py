"""A virtual machine with a real camera device and a real virtual camera."""
