"""Training: an experiment becomes a run folder."""
