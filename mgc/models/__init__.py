"""Models, one file per architecture."""
