"""What every part of mgc may use: files, signals, processes, messages."""
