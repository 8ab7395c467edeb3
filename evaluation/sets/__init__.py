"""Evaluation sets: calls with references, and the scripts that made them."""
