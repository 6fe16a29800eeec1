"""The numbers of the paper, and its six tables with ours beside them."""
