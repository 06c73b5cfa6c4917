"""Training: the plan, the loop, checkpoints, the run's rows in the warehouse, and the search for better options."""
