"""The grid of runs as Ray tasks, on one machine or a cluster."""
