"""Figures of experiments, drawn from the tables of a frozen result."""
