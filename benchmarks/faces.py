"""How fast one core renders synthetic faces, against a target of 300 images/s."""

import time

import cv2

from benchmarks import common
from job.datasets import synthetic_faces as faces

TARGET_RATE = 300.0  # images/s on one core at 64 px


def rate(size: int, images: int) -> float:
    """Return images per second on one core: the better of two passes, since other load only slows a pass down."""
    records = faces.records(None, 0, train=images // 2, val=0, test=0)
    for record in records[:10]:
        faces.read(record, size)  # build the noise tiles and the spline matrices
    best = 0.0
    for _ in range(2):
        start = time.process_time()
        for record in records:
            faces.read(record, size)
        best = max(best, len(records) / (time.process_time() - start))
    return best


def main() -> None:
    parser = common.arguments(__doc__, "faces")
    parser.add_argument("--images", type=int, default=1000, help="images per pass, half of them from each domain")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    where = common.machine()
    rates = {size: rate(size, args.images) for size in (48, 64, 96)}
    common.print_table(
        [("pixels", "images/s per core", "of the target"), *((size, r, r / TARGET_RATE) for size, r in rates.items())]
    )
    result = {"images_per_second_per_core": rates, "ratio_at_64": rates[64] / TARGET_RATE}
    common.write_result(args.out, "faces", result, where)


if __name__ == "__main__":
    main()
