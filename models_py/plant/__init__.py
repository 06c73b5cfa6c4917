"""The demo plant: drawn inspection images of four product families, and their production data, from one seed."""

from models_py.plant.build import Plant, build

__all__ = ["Plant", "build"]
