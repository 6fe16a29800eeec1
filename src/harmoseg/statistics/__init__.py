"""Whether a difference is real: intervals, paired differences, words; knows `Scores` alone."""
