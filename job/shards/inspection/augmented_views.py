"""Draw a sheet of augmented views: training images as the network gets them, before normalisation."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from job.config.data import Data
from job.shards.inspection.contact_sheet import check_sheet, save_sheet
from job.shards.manifest import Manifest, load_manifest
from job.shards.reading.augment_draws import draw
from job.shards.reading.batch_loader import Batch
from job.shards.reading.prepare import Preparation
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split

_IMAGES = 4  # of each domain
_GAP, _TITLE = 2, 16  # pixels


def write_views(path: str | Path, sheet: Path, data: Data, seed: int, views: int, *, allow_pipe: bool = False) -> None:
    """Draw images of the shards at `path` and `views` ordinary and strong views of each into a file, atomically.

    Raises JobError when it cannot be written, an image cannot be decoded, or a domain of `data` has no training split.
    """
    check_sheet(sheet)
    manifest = load_manifest(path, allow_pipe=allow_pipe)
    store = ShardStore(path, allow_pipe=allow_pipe)
    image = draw_views(manifest, store, data, seed, views)
    store.close()
    save_sheet(image, sheet)


def draw_views(manifest: Manifest, store: ShardStore, data: Data, seed: int, views: int) -> Image.Image:
    """Draw a block of rows for each domain: an image, its ordinary views and its strong views, of steps 0, 1, ..."""
    cell = manifest.size + _GAP
    block = _TITLE + _IMAGES * cell
    width, gap = (1 + 2 * views) * cell, 4 * _GAP
    sheet = Image.new("RGB", (max(width + 2 * gap, 240), 2 * block), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for index, domain in enumerate((data.source, data.target)):
        top = index * block
        count = min(_IMAGES, manifest.samples(domain, "train"))
        rows = read_split(manifest, store, domain, "train", labelled=False, rows=range(count), batch_size=count)
        images = next(rows)[0]
        columns = [images.numpy(), *_views(images, domain, data, seed, views)]
        ordinary, strong = cell + gap, cell * (1 + views) + 2 * gap
        for left, title in ((0, domain), (ordinary, "ordinary views"), (strong, "strong views")):
            pen.text((left, top + 2), title, "black", font)
        for column, pixels in enumerate(columns):
            left = column * cell + gap * ((column > 0) + (column > views))
            for row, image in enumerate(pixels):
                sheet.paste(Image.fromarray(image), (left, top + _TITLE + row * cell))
    return sheet


def _views(images: torch.Tensor, domain: str, data: Data, seed: int, views: int) -> list[np.ndarray]:
    """Return uint8 [n, S, S, 3] for each ordinary view, then for each strong one, by the code of the training."""
    preparation = Preparation(data.augment, (0, 0, 0), (1, 1, 1), False, torch.device("cpu"), blocks=1, strong=True)
    ordinary, strong = [], []
    for step in range(views):
        draws = torch.from_numpy(draw(seed, step, domain, np.arange(len(images)), preparation.draws))
        batch = Batch(step, images, torch.zeros(len(images), dtype=torch.int64), draws)
        made = preparation(preparation.on_host(batch) if preparation.on_host else batch)
        pixels = (made.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        ordinary.append(pixels[: len(images)])
        strong.append(pixels[len(images) :])
    return [*ordinary, *strong]
