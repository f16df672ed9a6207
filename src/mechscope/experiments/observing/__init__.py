"""What rows show without a change: slices, levels, confounders, adjusted contrasts."""
