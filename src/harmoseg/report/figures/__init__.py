"""The figures of a study and of the paper: functions from results to matplotlib figures."""
