"""The workshop: read data, draw the demo plant, train, evaluate, store and look up models."""

__version__ = "0.1.0"
