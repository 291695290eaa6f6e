"""The benchmark of the level on disk."""
