"""Many runs: their plan, execution and results."""
