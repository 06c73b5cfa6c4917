"""Verdicts on record: their rows, the journal's files, how they become rows. Clients are answered in `serving`."""
