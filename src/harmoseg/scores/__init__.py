"""The table in the middle: scores from anywhere, checked once, read by everything downstream."""
