"""Build the batches of a run: streams of the domains that the method reads, and the loader that fills batches."""

import json
from collections.abc import Iterator
from pathlib import Path

from accelerate import Accelerator

from job.config.schema import Config
from job.methods.base import Method
from job.shards.manifest import Manifest
from job.shards.reading.batch_loader import Batch, BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.image_memory import DecodedImages
from job.shards.reading.prepare import Preparation
from job.training.inputs import domain_names, open_store, stream_count


class TrainingBatches:
    """Iterate over this rank's share of every global batch from `start_step`, once. Close it, or use it in a `with`.

    With data.record_keys, write the sample keys of each batch to ``keys/rank_N.jsonl`` in `folder`.
    """

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        accelerator: Accelerator,
        method: Method,
        preparation: Preparation,
        *,
        folder: Path,
        start_step: int,
        skipped: int,
    ) -> None:
        data, domains = config.data, domain_names(config)
        self._store = open_store(config)
        decoded = DecodedImages(int(data.decoded_gib * 2**30))
        self.streams = [
            DomainStream(
                manifest,
                domains[role],
                self._store,
                labelled=role == method.labelled,  # labels of the other domains are never read
                seed=config.seed,
                streams=stream_count(config, manifest),
                global_batch_size=data.global_batch_size,
                block_shards=data.block_shards,
                on_bad_image=data.on_bad_image,
                max_skipped=data.max_skipped,
                rank=accelerator.process_index,
                world_size=accelerator.num_processes,
                decoded=decoded,
            )
            for role in method.reads
        ]
        self._loader = BatchLoader(
            self.streams,
            seed=config.seed,
            start_step=start_step,
            stop_step=config.train.steps,
            threads=data.threads,
            prefetch=data.prefetch,
            device=accelerator.device,
            draws=preparation.draws,
            on_host=preparation.on_host,
            skipped=skipped if accelerator.is_main_process else 0,
        )
        self._roles = method.reads
        self._keys = folder / "keys" / f"rank_{accelerator.process_index}.jsonl" if data.record_keys else None
        self.images_per_step = len(method.reads) * data.global_batch_size

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if self._keys is not None:
                self._record(batch.step, self._keys)
            yield batch

    @property
    def wait_seconds(self) -> float:
        """Seconds that the consumer has waited for batches."""
        return self._loader.wait_seconds

    @property
    def skipped(self) -> int:
        """Images of this rank that could not be decoded and were replaced by others."""
        return self._loader.skipped

    def epochs(self, step: int) -> dict[str, float]:
        """Return the passes over each domain after `step` steps, by metric name."""
        return {f"trainer/epoch_{role}": s.epoch(step) for role, s in zip(self._roles, self.streams, strict=True)}

    def close(self) -> None:
        """Cancel the downloads of later shards, then wait for the threads."""
        self._store.close()
        self._loader.close()

    def __enter__(self) -> "TrainingBatches":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record(self, step: int, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        keys = {stream.domain: stream.keys(step) for stream in self.streams}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **keys}) + "\n")
