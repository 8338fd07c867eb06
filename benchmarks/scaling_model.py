"""A model of the step on 8 to 1,024 GPUs. Nothing here is measured on several GPUs: every assumption is in the result.

The gradient is reduced in DDP's buckets: within each node, in a ring between nodes, and within each node again. The
reduction of a bucket runs beside the backward pass, except for that of the last one. The time of a step's computation
is that of benchmarks/results/gpu.json, or else the counted FLOPs divided by an assumed rate.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from job.config.load import build_config
from job.methods.batch import TrainingBatch
from job.methods.build import build_method

NETWORKS = {"resnet50": (224, 64), "vit_b_16": (224, 64)}  # pixels, images per GPU and domain
GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
GPUS_PER_NODE = 8
LINKS = {"400 Gb/s per GPU": 50e9, "100 Gb/s per node": 12.5e9 / GPUS_PER_NODE}  # bytes/s of a GPU to other nodes
BUCKET = 25 * 2**20  # bytes, DDP's default
ASSUMED: dict[str, Any] = {
    "gpus_per_node": GPUS_PER_NODE,
    "bytes_per_second_within_a_node": 450e9,  # NVLink of an H100, one direction
    "bytes_per_second_between_nodes": LINKS,
    "share_of_link_speed": 0.8,
    "seconds_per_hop_within_a_node": 3e-6,
    "seconds_per_hop_between_nodes": 5e-6,
    "bytes_per_gradient_element": 4,
    "bucket_bytes": BUCKET,
    "backward_share_of_compute": 2 / 3,
    # in bf16 on an H100, for networks without a measured time: 8 % and 25 % of its peak
    "flops_per_second": {"resnet50": 80e12, "vit_b_16": 250e12},
    "not_modelled": "reading data, slow ranks, other traffic on the network, evaluations, checkpoints",
}


def count(backbone: str, size: int, images: int) -> tuple[int, int]:
    """Return the parameters that have a gradient, and the FLOPs of an update, both counted without computing."""
    content = {"name": "model", "data": {"shards": "none"}, "model": {"backbone": backbone}}
    config = build_config(content, "benchmark")
    method = build_method(config, size, 7).train()
    # attention as two multiplications, because the counter does not know the kernel of CPUs
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        labels = torch.zeros(images, dtype=torch.int64)
        batch = TrainingBatch(method.blocks, torch.zeros(2 * images, 3, size, size), labels)
        losses = method(batch, torch.zeros((), dtype=torch.float64))
        torch.autograd.grad(losses.total, [p for p in method.parameters() if p.requires_grad], allow_unused=True)
    return sum(p.numel() for p in method.parameters() if p.requires_grad), counter.get_total_flops()


def measured_compute(figures: Path) -> dict[str, float]:
    """Return the seconds of an update by network that benchmarks.gpu measured in bf16, not compiled; {} if it did not.

    Rows with other pixels or images than the model's are left out.
    """
    if not figures.exists():
        return {}
    rows = json.loads(figures.read_text())["result"]["rows"]
    return {
        row["backbone"]: row["step_ms"] / 1000
        for row in rows
        if (row["mode"], row["precision"]) == ("eager", "bf16")
        and NETWORKS.get(row["backbone"]) == (row["size"], row["images_per_domain"])
    }


def exposed_seconds(gpus: int, gradient: int, compute: float, link: float) -> float:
    """Return the seconds per step in which GPUs only wait for the gradient, of `gradient` bytes."""
    used = ASSUMED["share_of_link_speed"]
    within, nodes = min(gpus, GPUS_PER_NODE), math.ceil(gpus / GPUS_PER_NODE)
    buckets = math.ceil(gradient / BUCKET)
    total = 2 * (within - 1) / within * gradient / (used * ASSUMED["bytes_per_second_within_a_node"])
    total += 2 * (nodes - 1) / nodes * gradient / within / (used * link)
    total += buckets * 2 * (within - 1) * ASSUMED["seconds_per_hop_within_a_node"]
    total += buckets * 2 * (nodes - 1) * ASSUMED["seconds_per_hop_between_nodes"]
    last = total / buckets
    return max(last, total - ASSUMED["backward_share_of_compute"] * compute)


def model(figures: Path) -> dict[str, Any]:
    """Return the rows of the model, with its assumptions and the source of the time of computation."""
    measured, rows = measured_compute(figures), []
    for backbone, (size, images) in NETWORKS.items():
        parameters, flops = count(backbone, size, images)
        gradient = parameters * ASSUMED["bytes_per_gradient_element"]
        compute = measured.get(backbone, flops / ASSUMED["flops_per_second"][backbone])
        source = f"measured: {figures}" if backbone in measured else "assumed: counted FLOPs / flops_per_second"
        for name, link in LINKS.items():
            for gpus in GPUS:
                step = compute + exposed_seconds(gpus, gradient, compute, link)
                row = {"backbone": backbone, "between_nodes": name, "gpus": gpus, "gradient_bytes": gradient}
                row |= {"compute_ms": 1000 * compute, "compute": source, "step_ms": 1000 * step}
                row |= {"communication": 1 - compute / step, "images_per_second": 2 * images * gpus / step}
                rows.append(row)
    return {"is_a_model": True, "assumed": ASSUMED, "networks": NETWORKS, "rows": rows}
