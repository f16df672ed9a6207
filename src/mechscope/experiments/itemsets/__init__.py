"""Frequent itemsets of active rows: items, halves, lattices, held-out evidence."""
