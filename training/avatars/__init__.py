"""Loads textured 3-D avatars (VALID, MIT) and renders them with exact pose and expression."""
