"""Token policies, one file each."""
