"""`--gray`: images without colour, for training and for everything that a model is used for."""

import numpy as np
import pytest
import simplejpeg

from job.shards.inspection.inspect_shards import inspect_shards
from job.shards.manifest import load_manifest
from job.shards.writing.encode import encode
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, samples
from tests.support.toy_shards import make


def test_an_image_is_stored_as_its_luma_and_read_as_three_equal_channels():
    image = np.asarray(trees.picture(3, (32, 32)))
    jpeg = encode(image, 32, 95, gray=True)
    assert simplejpeg.decode_jpeg_header(jpeg)[2:] == ("Gray", "Gray")
    pixels = simplejpeg.decode_jpeg(jpeg, "RGB").astype(int)
    assert (pixels == pixels[:, :, :1]).all()
    luma = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels[:, :, 0] - luma).mean() < 2
    assert len(jpeg) < len(encode(image, 32, 95))


def test_shards_of_files_and_of_drawings_have_no_colour_and_say_so(tmp_path):
    trees.folders(tmp_path / "set", names=("joy", "fear"))
    build("folders", tmp_path / "set", tmp_path / "files", gray=True)
    make(tmp_path / "drawn", gray=True)
    for name in ("files", "drawn"):
        assert load_manifest(tmp_path / name).gray
        for sample in samples(tmp_path / name):
            assert np.ptp(sample["image"].astype(int), axis=2).max() == 0
        assert "JPEG quality 95, without colour" in inspect_shards(tmp_path / name)
    with pytest.raises(JobError, match="gray is True there, False here"):
        make(tmp_path / "drawn")
