"""A model and files become masks in the geometry of the files."""
