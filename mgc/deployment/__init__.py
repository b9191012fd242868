"""Trained models as graphs that run without mgc, without Lightning and without PyTorch."""
