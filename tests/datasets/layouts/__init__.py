"""Layouts of published data sets, each on a small tree."""
