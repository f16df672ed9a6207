"""One file per architecture; found by folder discovery."""
