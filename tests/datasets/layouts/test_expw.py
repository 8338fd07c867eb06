"""ExpW: several faces in a photo, each an image of its own."""

import numpy as np
import pytest
from PIL import Image

from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, found, samples

NAMES = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")


def photos(root, count=14):
    """Photos with two faces side by side, red and blue, and a table of genders by face."""
    lines, genders = [], []
    for i in range(count):
        pixels = np.asarray(trees.picture(i, (64, 32))).copy() // 8
        pixels[6:26, 6:26, 0] = 240 - i
        pixels[6:26, 38:58, 2] = 240 - i
        (root / "image/origin").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "image/origin" / f"angry actor_{i}.jpg", quality=95)
        for face, left in ((0, 6), (3, 38)):
            lines.append(f"angry actor_{i}.jpg {face} 6 {left} {left + 20} 26 60.9565 {(i + face) % 7}")
            genders.append({"image": f"angry actor_{i}.jpg#{face}", "gender": "male" if face else "female"})
    (root / "label").mkdir()
    (root / "label/label.lst").write_text("\n".join(lines) + "\n")
    return trees.table(root, genders, "genders.csv")


def test_each_face_is_an_image(tmp_path):
    table = photos(tmp_path / "ExpW")
    build("expw", tmp_path / "ExpW", tmp_path / "out", options={"gender": str(table)})
    read = samples(tmp_path / "out")
    assert len(read) == 28
    for sample in read:
        name, _, face = sample["source"].rpartition("#")
        number = int(name.rpartition("_")[2].removesuffix(".jpg"))
        assert sample["emotion"] == NAMES[(number + int(face)) % 7]
        assert sample["domain"] == ("target" if face == "0" else "source")
        red, blue = sample["image"][8, 8, 0], sample["image"][8, 8, 2]
        assert (red > 180 > 100 > blue) if face == "0" else (blue > 180 > 100 > red)
        assert sample["image"][0, 8].max() < 100, "a margin of three pixels around the face"


def test_a_table_that_does_not_tell_the_faces_of_a_photo_apart_is_refused(tmp_path):
    photos(tmp_path / "ExpW")
    table = trees.table(tmp_path, [{"image": f"angry actor_{i}.jpg", "gender": "m"} for i in range(14)], "genders.csv")
    with pytest.raises(JobError, match=r"angry actor_0\.jpg means .*#0 and .*#3: write the path"):
        found("expw", tmp_path / "ExpW", gender=str(table))


@pytest.mark.parametrize("line", ["x.jpg 0 1 2 3 4 5", "x.jpg 0 a 2 3 4 60.9 1"])
def test_an_invalid_list_is_refused_by_line(tmp_path, line):
    photos(tmp_path / "ExpW", 1)
    path = tmp_path / "ExpW/label/label.lst"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(JobError, match=r"label\.lst, line 3: .* is not of the form NAME FACE TOP"):
        found("expw", tmp_path / "ExpW", source=None, target=None)
