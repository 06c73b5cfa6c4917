"""Image files as bytes: what they are, before any pixel is decoded."""

from models_py.images.header import FORMATS, ImageFacts, ImageLimits, probe

__all__ = ["FORMATS", "ImageFacts", "ImageLimits", "probe"]
