"""From videos of faces to a data set to train on; the command is training/prepare.py."""
