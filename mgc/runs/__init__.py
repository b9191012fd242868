"""Runs on disk and in W&B."""
