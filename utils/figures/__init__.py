"""The figures, one kind per file; each function returns a matplotlib figure, which `save_figure` writes.

Nothing is imported here, so that Train.py, which draws curves, does not load what the others need.
"""
