"""Check that the images of a batch fit into the memory of a machine, before they are allocated."""

import psutil

from job.config.schema import Config
from job.system.errors import JobError


def check_batch_memory(config: Config, size: int, domains: int, ranks: int) -> None:
    """Raise JobError when the images of the batches in flight alone exceed the memory of this machine.

    `size` is their edge in pixels. The sum has the bytes of the batches that are decoded ahead and the floats of the
    batch that trains; the memory that the network needs is not included. Without this check the machine
    would swap until the kernel kills a process.
    """
    data = config.data
    images = domains * data.global_batch_size // ranks
    needed = images * 3 * size**2 * (data.prefetch + 1 + 4)  # bytes; 4 for a float
    held = psutil.virtual_memory().total
    if needed > held:
        raise JobError(
            f"data.global_batch_size={data.global_batch_size} with data.prefetch={data.prefetch} needs "
            f"{needed / 2**30:,.0f} GiB for the images of a rank, and this machine has {held / 2**30:,.0f}: lower one"
        )
