"""The data set on disk: aligned crops of faces with their attributes, written once and read in any order."""
