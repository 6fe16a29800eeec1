"""The inside of the data: cards, the prepared store on disk, loading and augmentation."""
