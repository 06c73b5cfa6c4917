"""Where first weights come from: shipped, downloaded, or a file of another program. Artifacts are in `registry`."""
