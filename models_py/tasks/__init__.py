"""The four tasks: for each its options, its architectures, and how it trains and is measured. Found by name."""
