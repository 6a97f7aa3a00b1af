"""Rows: groups, parts to hold out, weights, and statistics over them."""
