"""One file per architecture; found by folder discovery."""

__all__: list[str] = []
