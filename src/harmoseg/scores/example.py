"""Scores of a real study, which every installation has: to try things with, and for the demo."""

from __future__ import annotations

from pathlib import Path

from harmoseg.scores.files import read_scores
from harmoseg.scores.table import Scores

EXAMPLE_FILE = Path(__file__).parent / "examples" / "polyps.csv.gz"
"""Networks trained out on Kvasir-SEG, tested there and on ETIS-Larib; from results/trained-out."""


def example_scores() -> Scores:
    """Return the scores of six methods on polyps: 144 images, one training per method."""
    return read_scores(EXAMPLE_FILE)
