"""Images per second and core of our stream, against the decoder alone and against the usual webdataset pipeline.

All decode the same 64-pixel JPEGs in one thread pinned to one core, in turns; the median of the turns' shares counts.
"Per core" is per second of processor time of the whole process, so that other load does not count; wall time is printed
too. The limit is the bare decoder with the buffer in which it is fastest on this machine (benchmarks/bare_decoder.py);
if anything that decodes is faster than that by more than the noise of the turns, the result says so and is not valid.

`cold` is the first pass, in which our stream reads whole shards, checks their sha256 and indexes their images
(`unverified`: the same with data.verify=never); `kept` is a later pass with the decoded images in memory
(data.decoded_gib), which has no target. `threads`: benchmarks/loader_threads.py.
"""

import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import loader_threads
from benchmarks.bare_decoder import above_limit, decode_all, make_buffers, measure, noise_of
from benchmarks.common import arguments, domain_streams, machine, print_table, write_result
from benchmarks.textures import write_textures
from job.shards.manifest import load_manifest
from job.shards.reading.batch_loader import BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.vocabulary import SOURCE

SIZE, IMAGES, SHARDS, BATCH, ROUNDS = 64, 8192, 64, 64, 7
RING = 6  # batches in flight: what BatchLoader holds by default
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
Rates = dict[str, list[tuple[float, float]]]  # per turn: images per second of processor time, and of wall time


def run_ours(streams: list[DomainStream], first: int, images: int) -> int:
    """Read both domains once, through the loader with one thread."""
    with BatchLoader(streams, seed=0, start_step=first, stop_step=first + images // BATCH, threads=1) as loader:
        return sum(len(batch.images) for batch in loader)


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


def jpegs_in_order(streams: list[DomainStream], steps: int) -> list[bytes]:
    """Return the JPEGs of the first steps, in the order in which the loader decodes them."""
    return [
        bytes(stream._shards[shard].jpeg(i))
        for step in range(steps)
        for stream in streams
        for shard, i in zip(*(part.tolist() for part in stream._order.batch(step, stream._streams)))
    ]


def one_core(folder: Path, images: int, shards: int, rounds: int) -> tuple[Rates, dict[str, float], list[bytes]]:
    """Measure all pipelines on one core; return their rates, those of the decoder by buffer, and the JPEGs."""
    paths = [info.path for info in load_manifest(folder).shards(SOURCE, "train")]
    few = paths[: max(1, WEBDATASET_IMAGES * shards // images)]
    streams, keeping = domain_streams(folder, 16, BATCH), domain_streams(folder, 16, BATCH, decoded_gib=1)
    steps = images // BATCH
    jpegs = jpegs_in_order(streams, steps)
    buffers = make_buffers(SIZE, 2 * BATCH, RING)
    rates: Rates = {name: [] for name in NAMES}
    by_buffer: dict[str, list[float]] = {each.name: [] for each in buffers}
    run_ours(keeping, 0, images)
    for turn in range(rounds):
        found = [measure(lambda each=each: decode_all(jpegs, each.rows)) for each in buffers]
        rates["ours"].append(measure(lambda turn=turn: run_ours(streams, turn * steps, images)))
        rates["cold"].append(measure(lambda: run_ours(domain_streams(folder, 16, BATCH), 0, images)))
        unverified = lambda: run_ours(domain_streams(folder, 16, BATCH, verify=False), 0, images)  # noqa: E731
        rates["unverified"].append(measure(unverified))
        again = [
            measure(lambda each=each: decode_all(jpegs, each.rows)) for each in buffers
        ]  # the clock may have risen
        rates["decoder"].append(max(found + again))
        for each, *both in zip(buffers, found, again):
            by_buffer[each.name].append(max(both)[0])
        rates["kept"].append(measure(lambda turn=turn: run_ours(keeping, (turn + 1) * steps, images)))
        rates["webdataset"].append(measure(lambda: run_webdataset(folder, few)))
    return rates, {name: statistics.median(each) for name, each in by_buffer.items()}, jpegs


def summarise(rates: Rates, by_buffer: dict[str, float], jpegs: list[bytes]) -> dict:
    """Return the figures: rates, shares of the limit as medians of the turns' ratios, and whether it is a limit."""
    limits = [cpu for cpu, _ in rates["decoder"]]

    def median_of(name: str, other: str) -> float:
        pairs = zip(rates[name], rates[other], strict=True)
        return statistics.median(ours / theirs for (ours, _), (theirs, _) in pairs)

    shares = {name: median_of(name, "decoder") for name in NAMES if name not in ("decoder", "kept")}
    noise = noise_of(limits)
    return {
        "images_per_core_second": {
            name: round(statistics.median(cpu for cpu, _ in turns)) for name, turns in rates.items()
        },
        "images_per_wall_second": {
            name: round(statistics.median(wall for _, wall in turns)) for name, turns in rates.items()
        },
        "decoder_by_buffer": {name: round(rate) for name, rate in by_buffer.items()},
        "bytes_per_image": round(sum(map(len, jpegs)) / len(jpegs)),
        "of_decoder": round(shares["ours"], 3),
        "of_decoder_cold": round(shares["cold"], 3),
        "verified_of_unverified": round(median_of("cold", "unverified"), 3),
        "times_webdataset": round(median_of("ours", "webdataset"), 1),
        "noise": round(noise, 3),
        "above_limit": above_limit(shares, noise),
        "targets": {"of_decoder": LEAST_OF_DECODE, "times_webdataset": LEAST_TIMES_WEBDATASET},
    }


def show(result: dict) -> None:
    rates, wall = result["images_per_core_second"], result["images_per_wall_second"]
    heads = ("one core, 64 px", "images/s of CPU", "of the decoder", "images/s of wall time")
    rows = [(NAMES[n], float(rates[n]), rates[n] / rates["decoder"], float(wall[n])) for n in NAMES]
    print_table([heads, *rows])
    print("\nthe decoder by its buffer:")
    print_table([("buffer", "images/s of CPU"), *((name, float(x)) for name, x in result["decoder_by_buffer"].items())])
    print(
        f"\n{result['of_decoder']} of the decoder (at least {LEAST_OF_DECODE}), {result['times_webdataset']} times "
        f"webdataset (at least {LEAST_TIMES_WEBDATASET:g}): {'met' if result['met'] else 'NOT MET'}"
    )
    for name in result["above_limit"]:
        print(
            f"NOT VALID: {NAMES[name]} is faster than the decoder alone by more than the noise of {result['noise']:.1%}"
        )


def run(images: int, shards: int, rounds: int, threads: tuple[int, ...], plan: loader_threads.Plan) -> dict:
    """Measure everything, and return the result."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, cores = Path(scratch), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        write_textures(folder, SIZE, images, shards)
        before = torch.get_num_threads()
        if cores:
            os.sched_setaffinity(0, {min(cores)})
        torch.set_num_threads(1)
        try:
            rates, by_buffer, jpegs = one_core(folder, images, shards, rounds)
        finally:
            if cores:
                os.sched_setaffinity(0, cores)
            torch.set_num_threads(before)
        result = summarise(rates, by_buffer, jpegs)
        good = result["of_decoder"] >= LEAST_OF_DECODE and result["times_webdataset"] >= LEAST_TIMES_WEBDATASET
        result["met"] = good and not result["above_limit"]
        show(result)
        result["threads"] = loader_threads.run(folder, jpegs, threads, plan)
        loader_threads.show(result["threads"])
    return result


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], "loader")
    parser.add_argument("--small", action="store_true", help="a miniature, to test this benchmark")
    options = parser.parse_args(words)
    where = machine()
    if options.small:
        result = run(128, 16, 1, (1, 2), loader_threads.MINIATURE)
    else:
        result = run(IMAGES, SHARDS, ROUNDS, (1, 2, 4), loader_threads.FULL)
    write_result(options.out, "loader", result, where)


if __name__ == "__main__":
    main()
