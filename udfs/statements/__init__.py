"""Analyse SQL text before it runs: what its model calls would cost, and what it should not do."""
