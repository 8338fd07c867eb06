"""Which samples a rank trained on, for audits of the data order."""

import json
from collections.abc import Sequence
from pathlib import Path

from job.shards.reading.domain_stream import DomainStream


def record_keys(folder: Path, rank: int, step: int, streams: Sequence[DomainStream]) -> None:
    """Append the sample keys of this rank's share of global batch `step` to ``keys/rank_N.jsonl``."""
    path = folder / "keys" / f"rank_{rank}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **{stream.domain: stream.keys(step) for stream in streams}}) + "\n")
