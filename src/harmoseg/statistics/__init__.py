"""Intervals and paired differences, with their words and tables; knows `Scores` alone."""
