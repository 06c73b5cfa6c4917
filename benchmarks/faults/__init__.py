"""What `benchmarks/torture.py` does to a plant: one module a subject, each with a function that fills rows."""
