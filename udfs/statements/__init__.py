"""SQL text read before it runs: what it would cost, and what it should not do. Nothing here executes for a client."""
