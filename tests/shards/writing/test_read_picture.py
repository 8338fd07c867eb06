"""Images of every format become upright RGB; unusable files are refused early, with a reason."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from job.datasets.image_bytes import fetch, pixels_to_pgm
from job.shards.writing.read_picture import UnreadableError, read_picture
from tests.support import trees


def close(pixels, image: Image.Image) -> bool:
    wanted = np.asarray(image.convert("RGB")).astype(int)
    return pixels.dtype == np.uint8 and pixels.shape == wanted.shape and np.abs(pixels - wanted).mean() < 6


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return trees.odd_but_good(tmp_path_factory.mktemp("odd") / "Male" / "Joy")


@pytest.mark.parametrize(
    ("name", "number"),
    [("upper", 901), ("blanks", 902), ("foreign", 903), ("turned", 908), ("moving", 909), ("cmyk", 912), ("link", 913)],
)
def test_odd_files_are_read(good, name, number):
    content = fetch(str(good[name]))
    assert close(read_picture(content), trees.picture(number))


def test_grey_and_16_bit(good):
    for name, number in (("grey", 904), ("deep", 905)):
        assert close(read_picture(fetch(str(good[name]))), trees.picture(number).convert("L"))


def test_16_bits_are_scaled_and_not_clipped(tmp_path):
    grey = np.arange(0, 65536, 257, dtype=np.uint16).reshape(1, -1)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    pixels = read_picture((tmp_path / "deep.png").read_bytes())
    np.testing.assert_array_equal(pixels, np.repeat(np.arange(256)[None, :, None], 3, axis=2))


def test_transparent_pixels_become_white(good):
    pixels = read_picture(fetch(str(good["alpha"])))
    wanted = (np.asarray(trees.picture(906)).astype(int) + 255) / 2
    assert np.abs(pixels - wanted).max() < 3
    assert read_picture(fetch(str(good["palette"]))).max() == 255


def test_every_exif_orientation_ends_upright(tmp_path):
    upright = trees.picture(1)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation, transposition in undo.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright.transpose(transposition).save(tmp_path / "x.jpg", exif=exif, quality=95)
        assert close(read_picture((tmp_path / "x.jpg").read_bytes()), upright), orientation


def test_a_bomb_is_refused_from_its_header(tmp_path):
    """Read it in a process with too little memory for the pixels."""
    path = trees.bomb(tmp_path / "bomb.png")
    big = tmp_path / "bomb.jpg"
    Image.new("L", (20_000, 20_000)).save(big, quality=1)
    program = (
        "import sys; from job.datasets.image_bytes import fetch; from job.shards.writing.read_picture import *\n"
        f"{trees.PEAK}held = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_picture(fetch(path)); print('read')\n"
        "    except UnreadableError as error: print(error)\n"
        "grown = peak() - held\n"
        "assert grown < 60_000, grown\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path, big], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert all("million" in line for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"<svg/>"]
)
def test_other_files_are_refused(content):
    with pytest.raises(UnreadableError) as caught:
        read_picture(content)
    assert "\n" not in str(caught.value)


def test_truncated_images_are_refused(tmp_path):
    for name in ("x.jpg", "x.png", "x.gif", "x.webp", "x.tiff"):
        whole = trees.put(tmp_path / name, 3).read_bytes()
        read_picture(whole)
        with pytest.raises(UnreadableError):
            read_picture(whole[: len(whole) * 2 // 3])


def test_pixels_of_a_table():
    np.testing.assert_array_equal(read_picture(pixels_to_pgm(b"0 128 255 7"))[:, :, 0], [[0, 128], [255, 7]])
    wrong = {b"1 2 3": "not a square", b"1 2 3 256": "0 and 255", b"1 2 3 x": "invalid literal", b"": "square"}
    for text, says in wrong.items():
        with pytest.raises(ValueError, match=says):
            pixels_to_pgm(text)


def test_a_pipe_does_not_block(tmp_path):
    import os

    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="not a plain file"):
        fetch(str(tmp_path / "x.jpg"))
