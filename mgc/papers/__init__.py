"""Scores that papers print, one module a paper."""
