"""From what a user passes to checked arrays: forms of X, modalities, targets, terms."""
