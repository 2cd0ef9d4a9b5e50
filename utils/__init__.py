"""What any classifier needs: training engine, metrics, checkpoints, run log. Nothing here is of the paper."""
