"""Interactions of factors: factorial designs, grids, games, and what rows show beside them."""
