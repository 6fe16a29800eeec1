"""The command line: a function per command, no logic."""
