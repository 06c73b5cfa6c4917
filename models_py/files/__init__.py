"""Writing files: whole or not at all, on the disk once a call returns, and in words when the disk is full."""
