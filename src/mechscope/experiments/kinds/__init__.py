"""Experiment kinds, one file each."""
