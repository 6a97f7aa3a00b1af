"""Relevance with its uncertainty: held-out scores, intervals, p-values."""
