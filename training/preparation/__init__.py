"""Makes a data set of videos of faces; the command is training/prepare.py."""
