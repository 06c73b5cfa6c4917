"""Pixels into classes."""
