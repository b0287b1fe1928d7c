"""Pairs of face patches to train the corrector on: what the geometry shows, and what a photo shows."""
