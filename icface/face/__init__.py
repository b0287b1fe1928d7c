"""From pixels to attributes."""
