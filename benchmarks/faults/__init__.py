"""The faults of `benchmarks/torture.py`: one module per subject, each with a function `fill` that yields rows."""
