"""Segmentation networks, built by name or opened; the network is never touched unasked."""

from harmoseg.losses.method import MODEL_NAMES
from harmoseg.models.create import create_model

__all__ = ["MODEL_NAMES", "create_model"]
