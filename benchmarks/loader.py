"""Images per second and core of our stream, against the decoder alone and against the usual webdataset pipeline.

All decode the same 64-pixel JPEGs in one thread pinned to one core, in turns; medians are compared. "Per core" is per
second of processor time of the whole process, so that other load does not count; wall time is printed too. `cold` is
the first pass, in which our stream reads whole shards, checks their sha256 and indexes their images (`unverified`: the
same with data.verify=never); `kept` is a later pass with the decoded images in memory (data.decoded_gib), which has no
target.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from benchmarks.common import arguments, domain_streams, machine, print_table, write_result
from benchmarks.textures import write_textures
from job.shards.manifest import load_manifest
from job.shards.reading.batch_loader import BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.vocabulary import SOURCE

SIZE, IMAGES, SHARDS, BATCH, ROUNDS = 64, 8192, 64, 64, 7
WEBDATASET_IMAGES = 2048  # it is slow
LEAST_OF_DECODE, LEAST_TIMES_WEBDATASET = 0.8, 8.0
MEAN_STD = (0.5, 0.5, 0.5)
NAMES = {
    "decoder": "simplejpeg alone",
    "ours": "our stream",
    "cold": "our stream, first pass",
    "unverified": "our stream, first pass, data.verify=never",
    "kept": "our stream, images in memory",
    "webdataset": "webdataset, PIL",
}


def run_ours(streams: list[DomainStream], first: int) -> int:
    """Read both domains once, through the loader with one thread."""
    steps = IMAGES // BATCH
    with BatchLoader(streams, seed=0, start_step=first, stop_step=first + steps, threads=1) as loader:
        return sum(len(batch.images) for batch in loader)


def run_decoder(jpegs: list[bytes]) -> int:
    """Decode bytes from memory into one preallocated batch."""
    rows = list(np.empty((2 * BATCH, SIZE, SIZE, 3), np.uint8))
    for i, jpeg in enumerate(jpegs):
        simplejpeg.decode_jpeg(jpeg, "RGB", buffer=rows[i % len(rows)])
    return len(jpegs)


def run_webdataset(folder: Path, paths: list[str]) -> int:
    """Run the pipeline of the webdataset documentation: shuffle, PIL, a transform per sample, torch's DataLoader."""
    import webdataset

    dataset = (
        webdataset.WebDataset([str(folder / path) for path in paths], shardshuffle=len(paths))
        .shuffle(500)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(to_normalised, lambda label: label)
    )
    return sum(len(images) for images, _ in torch.utils.data.DataLoader(dataset, batch_size=2 * BATCH))


def to_normalised(image) -> torch.Tensor:
    """Apply torchvision's ToTensor and Normalize, without torchvision."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)
    return pixels.sub_(torch.tensor(MEAN_STD).view(3, 1, 1)).div_(torch.tensor(MEAN_STD).view(3, 1, 1))


def measure(work: Callable[[], int]) -> tuple[float, float]:
    """Return images per second of processor time, and of wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    images = work()
    return images / (time.process_time() - cpu), images / (time.perf_counter() - wall)


def main() -> None:
    out = arguments(__doc__.splitlines()[0], "loader").parse_args().out
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_textures(folder, SIZE, IMAGES, SHARDS)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)

        manifest = load_manifest(folder)
        paths = [info.path for info in manifest.shards(SOURCE, "train")]
        few = paths[: WEBDATASET_IMAGES * SHARDS // IMAGES]
        streams, keeping = domain_streams(folder, 16, BATCH), domain_streams(folder, 16, BATCH, decoded_gib=1)
        per_pass = IMAGES // BATCH
        jpegs = [
            bytes(s._shards[shard].jpeg(i))
            for s in streams
            for step in range(per_pass)
            for shard, i in zip(*(part.tolist() for part in s._order.batch(step, s._streams)))
        ]
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
        run_ours(keeping, 0)
        for turn in range(ROUNDS):
            rates["decoder"].append(measure(lambda: run_decoder(jpegs)))
            rates["ours"].append(measure(lambda turn=turn: run_ours(streams, turn * per_pass)))
            rates["cold"].append(measure(lambda: run_ours(domain_streams(folder, 16, BATCH), 0)))
            unverified = lambda: run_ours(domain_streams(folder, 16, BATCH, verify=False), 0)  # noqa: E731
            rates["unverified"].append(measure(unverified))
            rates["kept"].append(measure(lambda turn=turn: run_ours(keeping, (turn + 1) * per_pass)))
            rates["webdataset"].append(measure(lambda: run_webdataset(folder, few)))

    per_core = {name: statistics.median(cpu for cpu, _ in turns) for name, turns in rates.items()}
    wall = {name: statistics.median(second for _, second in turns) for name, turns in rates.items()}
    result = {
        "images_per_core_second": {name: round(rate) for name, rate in per_core.items()},
        "images_per_wall_second": {name: round(rate) for name, rate in wall.items()},
        "bytes_per_image": round(sum(map(len, jpegs)) / len(jpegs)),
        "of_decoder": round(per_core["ours"] / per_core["decoder"], 3),
        "of_decoder_cold": round(per_core["cold"] / per_core["decoder"], 3),
        "verified_of_unverified": round(per_core["cold"] / per_core["unverified"], 3),
        "times_webdataset": round(per_core["ours"] / per_core["webdataset"], 1),
        "targets": {"of_decoder": LEAST_OF_DECODE, "times_webdataset": LEAST_TIMES_WEBDATASET},
    }
    print_table(
        [
            ("one core, 64 px", "images/s of CPU", "of the decoder", "images/s of wall time"),
            *((NAMES[n], per_core[n], per_core[n] / per_core["decoder"], wall[n]) for n in NAMES),
        ]
    )
    met = result["of_decoder"] >= LEAST_OF_DECODE and result["times_webdataset"] >= LEAST_TIMES_WEBDATASET
    print(
        f"\n{result['of_decoder']} of the decoder (at least {LEAST_OF_DECODE}), {result['times_webdataset']} times "
        f"webdataset (at least {LEAST_TIMES_WEBDATASET:g}): {'met' if met else 'NOT MET'}"
    )
    write_result(out, "loader", {**result, "met": met}, where)


if __name__ == "__main__":
    main()
