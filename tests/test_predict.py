"""`predict` searches folders for images by the same rules as `shards`."""

import pytest

from job.prediction.images import find_images
from tests.support import trees


def test_folders_are_searched_like_those_of_shards(tmp_path, capsys):
    root = tmp_path / "photos"
    expected = {trees.put(root / "a" / "1.jfif", 1, format="JPEG"), trees.put(root / "2", 2, format="PNG")}
    trees.put(root / ".thumbnails" / "1.jpg", 3)
    trees.put(root / "@eaDir" / "1.jpg", 4)
    trees.put(root / "a" / "._1.jpg", 5)
    (root / "3.heic").write_bytes(b"x")
    (root / "gone.jpg").symlink_to("nothing")
    skipped: list[str] = []
    assert set(find_images([root], skipped)) == expected
    assert skipped == [f"{root}/gone.jpg: a broken link"]
    lines = [line.partition(f"left out below {root}: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert sorted(lines) == [
        "1 files ending in .heic",
        "1 folder .thumbnails (hidden, or of a tool)",
        "1 folder @eaDir (hidden, or of a tool)",
        "1 hidden files and files of tools",
    ]


@pytest.mark.parametrize("name", ["x.heic", ".hidden.jpg", "no ending"])
def test_explicit_file_is_accepted_under_any_name(tmp_path, name):
    path = trees.put(tmp_path / name, 1, format="PNG")
    assert list(find_images([path], [])) == [path]
