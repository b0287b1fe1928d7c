"""Textured 3-D avatars (VALID, MIT), loaded and rendered with exact pose and expression."""
