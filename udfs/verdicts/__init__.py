"""Verdicts: their records, the server's journal on disk, and how it is moved into the warehouse."""
