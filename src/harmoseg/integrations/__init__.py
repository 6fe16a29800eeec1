"""harmoseg inside other frameworks: nnU-Net trainers, MONAI bundles."""
