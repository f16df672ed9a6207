"""Minimal cores: contexts to search in, players, trials on held-out contexts, tables."""
