"""The demo plant: drawn inspection images of four families, and the production around them, from one seed."""

from models_py.plant.build import Plant, build

__all__ = ["Plant", "build"]
