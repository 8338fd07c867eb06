"""The contact sheet of predictions."""

import numpy as np
import pytest
from PIL import ImageDraw, ImageFont

from job.prediction.sheet import ConfidenceSheet, _cut


@pytest.mark.parametrize("number", [1, 2, 5, 40])
def test_the_most_and_the_least_confident_are_shown_and_no_image_twice(number):
    sheet = ConfidenceSheet()
    for i in range(number):
        sheet.add(np.full((8, 8, 3), (200, 5 * i, 40), np.uint8), (i + 1) / 41, "joy", f"{i}.jpg")
    pixels = np.asarray(sheet.draw())
    areas = [int((pixels == (200, 5 * i, 40)).all(-1).sum()) for i in range(number)]
    shown = [i for i, area in enumerate(areas) if area > 96 * 90]
    assert all(area < 96 * 97 for area in areas)
    assert shown == [*range(number)] if number < 32 else [*range(16), *range(24, 40)]


def test_a_long_name_keeps_its_end():
    from PIL import Image

    text = _cut(ImageDraw.Draw(Image.new("RGB", (9, 9))), "woman-train-0000-123456.jpg", ImageFont.load_default())
    assert text.startswith("wom")
    assert text.endswith("123456.jpg")
