"""A run on disk and in W&B."""
