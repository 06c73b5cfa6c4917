"""Boxes around defects."""
