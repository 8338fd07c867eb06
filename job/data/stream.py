"""What training and evaluation read, in one place.

manifest = load_manifest("shards/faces")
store = ShardStore("shards/faces")
source = DomainStream(manifest, "source", store, labelled=True, seed=0, streams=16, global_batch_size=64)
target = DomainStream(manifest, "target", store, labelled=False, seed=0, streams=16, global_batch_size=64)
with BatchLoader([source, target], seed=0, start_step=1000, stop_step=2000, device="cuda") as loader:
    for batch in loader: ...
"""

from job.data.cache import ShardStore
from job.data.domain import DomainStream
from job.data.loader import Batch, BatchLoader
from job.data.manifest import Manifest, load_manifest
from job.data.split import read_split
from job.data.tar import UNLABELLED

__all__ = [
    "UNLABELLED",
    "Batch",
    "BatchLoader",
    "DomainStream",
    "Manifest",
    "ShardStore",
    "load_manifest",
    "read_split",
]
