"""Losses: logits and target in, a scalar out; and how methods and their losses are spelled."""
