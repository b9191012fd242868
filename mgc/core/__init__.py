"""Basics for every part of mgc: files, signals, processes, messages."""
