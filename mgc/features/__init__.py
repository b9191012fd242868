"""Feature extractors: PyTorch modules that map batches of waveforms to features."""
