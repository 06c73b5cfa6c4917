"""Compiled forms of registered networks: ONNX for CPUs, and export as ONNX. Training and storing are elsewhere."""
