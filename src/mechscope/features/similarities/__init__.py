"""Similarities between features: one file each, found by reading this folder."""
