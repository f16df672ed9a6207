"""Sweeps over groups: means, dealings, verdicts, and what a group's kit explains."""
