"""Rows of tokens with metadata columns, and where they come from."""
