"""First weights for training: shipped, downloaded, or read from another program's file. Artifacts are in `registry`."""
