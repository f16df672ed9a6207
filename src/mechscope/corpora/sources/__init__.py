"""Corpus sources: one file each, found by reading this folder."""
