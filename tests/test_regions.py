"""Polygons become pixels by one rule, checked on shapes drawn by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from models_py.errors import ImageError
from models_py.images.regions import bounds, fill_polygon, is_empty_mask

SHAPES = {
    "a rectangle of whole pixels": ([[1, 1, 4, 1, 4, 3, 1, 3]], ["......", ".###..", ".###..", "......"]),
    "the other way round": ([[1, 3, 4, 3, 4, 1, 1, 1]], ["......", ".###..", ".###..", "......"]),
    "half pixels": ([[0.6, 0.4, 2.6, 0.4, 2.6, 1.6, 0.6, 1.6]], [".##...", ".##...", "......", "......"]),
    "a triangle": ([[0, 0, 4, 0, 0, 4]], ["###...", "##....", "#.....", "......"]),
    "a hole": (
        [[0, 0, 6, 0, 6, 4, 0, 4], [2, 1, 2, 3, 4, 3, 4, 1]],
        ["######", "##..##", "##..##", "######"],
    ),
    "two parts": ([[0, 0, 2, 0, 2, 1, 0, 1], [4, 2, 6, 2, 6, 4, 4, 4]], ["##....", "......", "....##", "....##"]),
    "two parts joined by a line, as YOLO writes them": (
        [[0, 0, 2, 0, 2, 1, 4, 2, 6, 2, 6, 4, 4, 4, 4, 2, 2, 1, 0, 1]],
        ["##....", "......", "....##", "....##"],
    ),
    "a bow tie": ([[0, 0, 6, 4, 6, 0, 0, 4]], ["#....#", "##..##", "##..##", "#....#"]),
    "more than the image": ([[-5, 2, 9, 2, 9, 9, -5, 9]], ["......", "......", "######", "######"]),
    "outside of it": ([[9, 9, 12, 9, 12, 12]], ["......"] * 4),
    "no pixel's centre": ([[1.1, 1.1, 1.4, 1.1, 1.4, 1.4]], ["......"] * 4),
}


@pytest.mark.parametrize(("polygon", "drawn"), SHAPES.values(), ids=SHAPES.keys())
def test_a_polygon_covers_the_pixels_whose_centres_it_surrounds(polygon, drawn):
    found = fill_polygon(polygon, (4, 6))
    assert ["".join(".#"[int(pixel)] for pixel in row) for row in found] == drawn


def test_random_polygons_agree_with_counting_crossings_for_each_pixel():
    random = np.random.default_rng(3)
    for _ in range(30):
        rings = [random.uniform(-4, 24, (random.integers(3, 9), 2)) for _ in range(random.integers(1, 4))]
        found = fill_polygon([ring.ravel().tolist() for ring in rings], (20, 18))
        expected = [
            [sum(crossings(ring, x + 0.5, y + 0.5) for ring in rings) % 2 for x in range(18)] for y in range(20)
        ]
        assert found.astype(int).tolist() == expected


def crossings(ring, x, y):
    """How many edges a line to the left of a point crosses."""
    count = 0
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y1 <= y) != (y2 <= y) and x1 + (y - y1) / (y2 - y1) * (x2 - x1) < x:
            count += 1
    return count


def test_bounds_are_around_all_rings():
    assert bounds([[1, 2, 3, 2, 3, 5], [7, 0.5, 8, 1, 7, 1]]) == (1, 0.5, 8, 5)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_mask_is_empty_if_no_pixel_is_set(mode):
    mask = Image.new(mode, (5, 4))
    assert is_empty_mask(encoded(mask), "png")
    mask.putpixel((4, 3), (0, 1, 0) if mode == "RGB" else 1)
    assert not is_empty_mask(encoded(mask), "png")


def test_a_mask_that_cannot_be_decoded_is_said_to_be_damaged():
    with pytest.raises(ImageError, match="the mask is damaged"):
        is_empty_mask(encoded(Image.effect_noise((50, 40), 90))[:-100], "png")


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()
