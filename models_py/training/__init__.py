"""Training: what it will do, the loop, its checkpoints, its run on record, and the search for better options."""
