"""Writing files completely or not at all, forcing them to the disk, and one error message for a full disk."""
