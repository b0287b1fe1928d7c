"""From trained generators to engines."""
