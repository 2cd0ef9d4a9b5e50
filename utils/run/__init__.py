"""A run: its folder, its checkpoints, resuming and stopping it."""
