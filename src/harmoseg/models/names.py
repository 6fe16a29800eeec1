"""The names of the networks, apart from their code so that naming one imports nothing heavy."""

from __future__ import annotations

from typing import Literal

ModelName = Literal["unet", "transunet"]
