"""Layouts of published data sets of faces: one file each."""
