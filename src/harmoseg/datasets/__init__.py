"""The outside of the data: cards, readers of native layouts, splits, preparing, the phantom."""
