"""Image files: header, decoding, encoding, regions, and bytes from a URL."""

from models_py.images.header import FORMATS, ImageFacts, ImageLimits, probe

__all__ = ["FORMATS", "ImageFacts", "ImageLimits", "probe"]
