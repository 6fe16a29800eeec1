"""Segmentation networks, built by name or opened; the network is never touched unasked."""

from harmoseg.models.create import MODEL_NAMES, create_model

__all__ = ["MODEL_NAMES", "create_model"]
