"""The folder that nnU-Net searches: it imports every module here, so there is only one."""
