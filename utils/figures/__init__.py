"""Plots, one kind per file: each function takes results and returns a matplotlib figure, which `save_figure` writes."""
