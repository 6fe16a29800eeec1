"""Many runs: the grid, its execution, and the statistics."""
