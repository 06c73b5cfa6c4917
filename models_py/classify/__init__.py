"""Whole images into classes."""
