"""The vision side: reads images and labels, trains, measures and stores models. Knows nothing of SQL functions."""

__version__ = "0.1.0"
