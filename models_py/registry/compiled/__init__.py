"""Other forms of a registered network: compiled for CPUs, exported as ONNX. What trains or stores it is elsewhere."""
