"""What `predict` reads, besides files and folders: a list on stdin, shards, parquet."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from job.prediction.images import Picture, no_images, open_images
from job.prediction.prepare import read
from job.shards.manifest import load_manifest
from job.shards.writing.crop import CropSettings
from job.system.errors import JobError
from tests.support import trees


def names_of(parts):
    return [str(picture.name) for part in parts for picture in part]


def png(number):
    content = io.BytesIO()
    trees.picture(number).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_a_list_of_paths_comes_from_stdin(tmp_path, monkeypatch, separator):
    paths = [trees.put(tmp_path / name, i) for i, name in enumerate(["b.png", "a b.png", "ü.png"])]
    listed = separator.join(bytes(path) for path in paths) + separator
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(listed)))
    skipped: list[str] = []
    (part,) = open_images(["-"], 48, skipped)
    assert (part.total, names_of([part]), skipped) == (3, list(map(str, paths)), [])


def test_shards_are_read_as_they_are_stored(faces):
    (part,) = open_images([faces], 48, [])
    manifest = load_manifest(faces)
    assert part.total == sum(manifest.samples(d, s) for d, splits in manifest.domains.items() for s in splits)
    pictures = list(part)
    assert len({picture.name for picture in pictures}) == part.total
    assert pictures[0].name == f"{faces}/source-train-0000000"
    assert pictures[0].content.shape == (48, 48, 3)
    with pytest.raises(JobError, match=r"its images have 48 px, and the model was trained on 32 px"):
        open_images([faces], 32, [])
    with pytest.raises(JobError, match=r"is in colour, and the model was trained without"):
        open_images([faces], 48, [], gray=True)


def test_a_part_of_shards_is_refused_with_the_folder_to_give(faces, tmp_path):
    (photos := tmp_path / "photos").mkdir()
    trees.put(photos / "a.jpg", 1)
    parts = [faces / "target" / "test", next((faces / "source" / "train").glob("*.tar"))]
    skipped: list[str] = []
    (part,) = open_images([*parts, photos], 48, skipped)
    assert names_of([part]) == [str(photos / "a.jpg")]
    assert skipped == [f"{part} is a part of the shards at {faces}: give {faces}" for part in parts]


def test_nothing_to_predict_names_a_few_endings():
    assert no_images(["a"]) == (
        "no image under a: expected files that end in .jpg, .png, .webp, .tif, ..., or image files without an ending"
    )


def test_the_images_of_a_parquet_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    column = [{"bytes": png(i), "path": name} for i, name in enumerate(["one.png", None, "three.png"])]
    parquet.write_table(pyarrow.table({"image": column, "label": [0, 1, 2]}), tmp_path / "set.parquet")
    plain = [png(i) for i in range(3)]
    parquet.write_table(pyarrow.table({"number": [1, 2, 3], "content": plain}), tmp_path / "plain.parquet")
    parts = open_images([tmp_path / "set.parquet", tmp_path / "plain.parquet"], 48, [])
    assert [part.total for part in parts] == [3, 3]
    assert names_of(parts[:1]) == [f"{tmp_path}/set.parquet:{name}" for name in ("one.png", 1, "three.png")]
    assert [picture.content for part in parts for picture in part] == [*(png(i) for i in range(3)), *plain]
    table = pyarrow.table({"left": plain, "right": plain})
    parquet.write_table(table, tmp_path / "two.parquet")
    with pytest.raises(JobError, match=r"two\.parquet has 2 columns of images \(bytes\): rename one to image"):
        open_images([tmp_path / "two.parquet"], 48, [])
    (tmp_path / "no.parquet").write_text("text")
    with pytest.raises(JobError, match=r"no\.parquet is no whole parquet file"):
        open_images([tmp_path / "no.parquet"], 48, [])


def test_an_empty_cell_is_one_unreadable_image():
    loaded = SimpleNamespace(size=32, quality=95, crop="center", gray=False)
    assert read(Picture("row", b""), loaded, CropSettings("center")) == "the file is empty"


def test_inputs_keep_their_order(tmp_path, faces):
    one, two = (trees.put(tmp_path / name, i) for i, name in enumerate(["z.png", "a.png"]))
    skipped: list[str] = []
    parts = open_images([one, faces, two, tmp_path / "missing.png"], 48, skipped)
    assert [type(part).__name__ for part in parts] == ["Files", "Shards", "Files"]
    assert (names_of(parts)[0], names_of(parts)[-1]) == (str(one), str(two))
    assert skipped == [f"no image or folder at {tmp_path / 'missing.png'}"]
    assert isinstance(next(iter(parts[1])).content, np.ndarray)
