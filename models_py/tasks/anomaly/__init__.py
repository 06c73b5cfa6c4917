"""Good images alone into a measure of how unusual another one is."""
