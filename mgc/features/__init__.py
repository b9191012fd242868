"""Features as modules: a batch of waveforms in, features out, on any device."""
