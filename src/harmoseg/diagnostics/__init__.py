"""Diagnostics: what a loss does, seen without training."""
