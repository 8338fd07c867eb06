"""Images per second and core of `job shards`, against the bare decode, resize and encode of the same libraries.

100,000 JPEGs of 100 px (RAF-DB's aligned faces), and again of 224 px (what networks are usually fed), in folders become
shards of 64 px; the time includes the start of the processes and the last checksum. The bare rate is measured on the
same files, in memory, in as many processes, in turns with the command. "Per core" is per second of
processor time of all processes, so that other load does not count. Memory is the largest sum of the resident memory of
all processes, in which shared pages count once for each process.
"""

import argparse
import ctypes
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from benchmarks.common import arguments, machine, print_table, write_result
from benchmarks.textures import textured
from job.datasets.layout import Record
from job.vocabulary import EMOTIONS, SOURCE

SIZE, QUALITY = 64, 95
ROUNDS, SAMPLE = 3, 4000
LEAST_OF_BARE, MOST_GIB = 0.7, 1.0


def make_images(root: Path, count: int, pixels: int) -> list[Path]:
    """Write `count` different JPEGs to Male/<emotion> and Female/<emotion>."""
    bases = [textured(Record("", SOURCE, "train", 0, None, "", i), pixels) for i in range(200)]
    paths = []
    for i in range(count):
        folder = root / ("Male", "Female")[i % 2] / EMOTIONS[i // 2 % 7]
        if i < 14:
            folder.mkdir(parents=True)
        picture = np.roll(bases[i % 200], (i // 200 % pixels, i // 20000), (0, 1))
        paths.append(folder / f"{i:06d}.jpg")
        paths[-1].write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 90, "RGB", "420"))
    return paths


def bare(jpegs: list[bytes]) -> float:
    """Decode, resize and encode; return the seconds of processor time."""
    cv2.setNumThreads(1)
    begun = time.process_time()
    for jpeg in jpegs:
        image = simplejpeg.decode_jpeg(jpeg, "RGB")
        image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        simplejpeg.encode_jpeg(image, QUALITY, "RGB", "444")
    return time.process_time() - begun


def bare_rate(pool: ProcessPoolExecutor, jpegs: list[bytes], workers: int) -> float:
    """Return images per second of processor time, with all workers busy: cores that share a unit are slower."""
    return workers * len(jpegs) / sum(pool.map(bare, [jpegs] * workers))


def command(root: Path, out: Path, workers: int) -> tuple[float, float, float]:
    """Run the command; return processor seconds, wall seconds and peak GiB of all its processes."""
    words = [sys.executable, "-m", "job", "shards", "folders", "--root", root, "--out", out, "--workers", workers]
    begun, before = time.perf_counter(), children_seconds()
    process = subprocess.Popen([*map(str, words), "--size", str(SIZE), "--quality", str(QUALITY)])
    seen: set[int] = set()
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, resident(process.pid, seen) / 2**30)
        time.sleep(0.1)
    wall = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit("the command failed")
    wait_for(seen)
    return children_seconds() - before, wall, peak


def adopt_orphans() -> None:
    """Become the parent of orphaned processes, such as a fork server."""
    pr_set_child_subreaper = 36  # linux/prctl.h
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def wait_for(pids: set[int], seconds: float = 30) -> None:
    """Wait for processes to end, so that their processor time counts as ours."""
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        for pid in left:
            with suppress(ChildProcessError):  # its parent, which is one of these processes, waits for it
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise SystemExit(f"processes {left} of the command have not ended")
        time.sleep(0.01)


def children_seconds() -> float:
    """Return the processor time of all descendants that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident(pid: int, seen: set[int]) -> int:
    """Return the resident bytes of a process and its descendants, and add their ids to `seen`."""
    seen.add(pid)
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child), seen) for child in children)


def measure(pool: ProcessPoolExecutor, images: int, pixels: int, workers: int) -> dict:
    """Measure both rates and peak memory for images of one size."""
    bare_rates, runs = [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        paths = make_images(root, images, pixels)
        sample = [path.read_bytes() for path in paths[:: max(1, len(paths) // SAMPLE)]]
        bare_rate(pool, sample[:50], workers)  # wait until the processes have started
        for turn in range(ROUNDS):
            bare_rates.append(bare_rate(pool, sample, workers))
            runs.append(command(root, Path(folder) / f"shards{turn}", workers))
            bare_rates.append(bare_rate(pool, sample, workers))
    rates = [images / cpu for cpu, _, _ in runs]
    # each run against the bare rates just before and after it: the speed of a shared machine changes
    ratios = [rate / statistics.mean(bare_rates[2 * turn : 2 * turn + 2]) for turn, rate in enumerate(rates)]
    return {
        "pixels": pixels,
        "bytes_per_image": round(sum(map(len, sample)) / len(sample)),
        "images_per_core_second": {
            "bare": round(statistics.median(bare_rates)),
            "command": round(statistics.median(rates)),
        },
        "bare_each": [round(rate) for rate in bare_rates],
        "images_per_wall_second": round(images / statistics.median(wall for _, wall, _ in runs)),
        "of_bare": round(statistics.median(ratios), 3),
        "of_bare_each_round": [round(ratio, 3) for ratio in ratios],
        "peak_gib": round(max(gib for _, _, gib in runs), 3),
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "shards")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pixels", type=int, nargs="+", default=[100, 224])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    where = machine()
    adopt_orphans()
    sizes = []
    with ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn")) as pool:
        for pixels in args.pixels:
            sizes.append(measure(pool, args.images, pixels, args.workers))
            report(sizes, args, where)  # after each size: the next may take long


def report(sizes: list[dict], args: argparse.Namespace, where: dict) -> None:
    """Print and write the results so far."""
    rows = [(f"{args.images:,} images, {args.workers} workers", "bare", "job shards", "of bare", "GiB", "met")]
    for size in sizes:
        size["met"] = size["of_bare"] >= LEAST_OF_BARE and size["peak_gib"] <= MOST_GIB
        rates = map(float, size["images_per_core_second"].values())
        cells = (size["of_bare"], size["peak_gib"], "yes" if size["met"] else "NO")
        rows.append((f"{size['pixels']} to {SIZE} px", *rates, *cells))
    print_table(rows)
    print(f"\nimages per second of processor time; at least {LEAST_OF_BARE} of the bare rate, under {MOST_GIB:g} GiB")
    targets = {"of_bare": LEAST_OF_BARE, "peak_gib": MOST_GIB}
    result = {"images": args.images, "workers": args.workers, "sizes": sizes, "targets": targets}
    write_result(args.out, "shards", {**result, "met": all(size["met"] for size in sizes)}, where)


if __name__ == "__main__":
    main()
