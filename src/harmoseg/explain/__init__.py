"""Explanations of one network or one mask: spectral maps, Grad-CAM, what spectra hold."""
