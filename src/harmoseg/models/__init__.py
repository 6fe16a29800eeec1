"""Segmentation networks, built by name or imported; nothing is downloaded unasked."""
