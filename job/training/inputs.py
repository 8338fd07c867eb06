"""Open the shards of a configuration, and check them before the first step."""

from pathlib import Path

from job.config.schema import Config
from job.shards.folds import arrange
from job.shards.manifest import Manifest, is_remote, load_manifest
from job.shards.reading.order import batch_per_stream, check_streams, largest_streams, rank_streams
from job.shards.reading.shard_cache import ShardStore
from job.system.errors import JobError
from job.training.batch_memory import check_batch_memory
from job.vocabulary import SOURCE, TARGET

NEEDS_SOURCE = ("source_accuracy", "dev")  # scores; the others are computed without source images too


def domain_names(config: Config) -> dict[str, str]:
    """Return the manifest's name of the domain in each role."""
    return {SOURCE: config.data.source, TARGET: config.data.target}


def open_manifest(config: Config) -> Manifest:
    """Read the manifest of a run, with the splits of its fold and protocol. Raises JobError as `arrange` does."""
    data = config.data
    manifest = load_manifest(data.shards, allow_pipe=data.allow_pipe)
    return arrange(manifest, data.fold, config.protocol, data.source, data.target)


def evaluated_domains(config: Config, manifest: Manifest) -> dict[str, str]:
    """Return the manifest's name of each domain that evaluations read: both, or the target alone.

    The target alone: the shards hold no other domain, and the method trains without images of the source.
    """
    domains = domain_names(config)
    if SOURCE not in config.objective.reads and set(manifest.domains) == {domains[TARGET]}:
        del domains[SOURCE]
    return domains


def open_store(config: Config, shards: str | None = None) -> ShardStore:
    """Open the store of the shards' files; remote ones, and with data.stage all, are read through the local cache.

    Raises JobError when data.stage has no data.cache_dir: the default is in the home folder, on many clusters shared.
    """
    data = config.data
    max_bytes = None if data.cache_gib is None else int(data.cache_gib * 2**30)
    verify = data.verify == "first_use"
    place = shards or data.shards
    if data.stage and not is_remote(place):
        if data.cache_dir is None:
            raise JobError("data.stage=true needs data.cache_dir, a folder on a disk of the node")
        place = Path(place).absolute().as_uri()
    return ShardStore(place, data.cache_dir, data.allow_pipe, max_bytes=max_bytes, verify=verify)


def stream_count(config: Config, manifest: Manifest) -> int:
    """Return the number of streams that the configuration names, or else the largest that batch and shards allow.

    It does not depend on the ranks, so that the data order does not. A run that resumes keeps its number:
    `job/training/streams.py`.
    """
    if config.data.streams is not None:
        return config.data.streams
    return largest_streams(fewest_shards(config, manifest)[0], config.data.global_batch_size) or 1


def fewest_shards(config: Config, manifest: Manifest) -> tuple[int, str]:
    """Return the smallest number of training shards of the domains that the method reads, and that domain."""
    domains = [domain_names(config)[role] for role in config.objective.reads]
    return min((len(manifest.shards(domain, "train")), domain) for domain in domains)


def _check_ranks(config: Config, manifest: Manifest, ranks: int) -> None:
    """Raise JobError, with values that would work, unless the ranks can share out the streams."""
    data, streams = config.data, stream_count(config, manifest)
    if data.streams is not None or streams % ranks == 0:
        rank_streams(streams, 0, ranks)
        return
    shards, domain = fewest_shards(config, manifest)
    advice = []
    if shards < ranks:
        advice.append(f"write the shards again with --shards {ranks} or more")
    if data.global_batch_size % ranks:
        advice.append(f"set data.global_batch_size to a multiple of {ranks}")
    if fitting := largest_streams(shards, data.global_batch_size, ranks):
        advice = [f"set data.streams={fitting}, if this run is new"]
    raise JobError(
        f"{ranks} ranks cannot share the data: data.global_batch_size={data.global_batch_size} and {shards} training "
        f"shards of {domain} allow {streams} streams, which must be divided equally among the ranks: "
        f"{' and '.join(advice)}, or start a divisor of {streams} ranks"
    )


def check_data(config: Config, manifest: Manifest, ranks: int) -> None:
    """Raise JobError unless the shards have the labels that the method needs and the ranks can share the batch."""
    method, data = config.objective, config.data
    domains = evaluated_domains(config, manifest)
    if SOURCE not in domains and config.score in NEEDS_SOURCE:
        raise JobError(
            f"selection.score={config.score} needs source images and {data.shards} holds none: set selection.score to "
            "infomax, mixval or another score of the target alone"
        )
    for role, domain in domains.items():
        for split in ("train", "val", "test"):
            if split == "train" and role == SOURCE and SOURCE not in method.reads:
                continue  # a source-free method: its source may have no training split
            manifest.shards(domain, split)
            needs_labels = (split != "test" and role == method.labelled) or (split != "train" and role == SOURCE)
            if needs_labels and not manifest.labelled(domain, split):
                hint = "write the shards with --keep-target-labels" if role == TARGET else "check data.source"
                total, lacking = manifest.samples(domain, split), manifest.unlabelled.get(domain, {}).get(split, 0)
                if lacking:
                    hint = f"the data set has labels for {total - lacking} of its {total} images; choose another method"
                raise JobError(f"{config.objective.name} needs labels of {domain}/{split} in {data.shards}: {hint}")
    for role in method.reads:
        domain = domain_names(config)[role]
        check_streams(domain, len(manifest.shards(domain, "train")), stream_count(config, manifest))
    batch_per_stream(data.global_batch_size, stream_count(config, manifest))
    _check_ranks(config, manifest, ranks)
    check_batch_memory(config, manifest.size, len(method.reads), ranks)
    per_rank = data.global_batch_size // ranks
    if per_rank % config.train.accumulate:
        raise JobError(
            f"train.accumulate={config.train.accumulate} cannot divide the {per_rank} images per domain of a rank "
            f"(data.global_batch_size={data.global_batch_size} over {ranks} ranks): choose a divisor of {per_rank}"
        )
    if config.train.accumulate > 1 and _couples_rows(config):
        raise JobError(
            f"train.accumulate={config.train.accumulate} cannot be used with objective.name={config.objective.name}: "
            "its loss compares all rows of a batch, so it cannot be computed on shares of it: leave it at 1"
        )
    batch_norm = config.model.bottleneck is not None and config.model.batch_norm in ("mixed", "sync")
    if batch_norm and len(method.reads) * per_rank // config.train.accumulate < 2:
        raise JobError(
            "the BatchNorm of model.bottleneck needs two images in every forward pass and there would be one: raise "
            "data.global_batch_size, lower train.accumulate, or set model.batch_norm=none"
        )
    if config.objective.label_shift == "correct" and method.labelled != SOURCE:
        raise JobError(
            f"objective.label_shift=correct cannot be used with objective.name={config.objective.name}: it weights the "
            "rows of the labelled source, and this method reads no label of the source: remove it"
        )
    for key in ("class_weights", "target_shares"):
        numbers = getattr(config.objective, key)
        if isinstance(numbers, tuple) and len(numbers) != len(manifest.class_names):
            raise JobError(f"objective.{key} has {len(numbers)} numbers for {len(manifest.class_names)} classes")


def _couples_rows(config: Config) -> bool:
    from job.methods import couples_rows  # here: it imports torch, and most mistakes are found without

    return couples_rows(config.objective)


def missing_classes(config: Config, manifest: Manifest) -> list[str]:
    """Return the classes without an image in the training split whose labels the method reads."""
    labelled = config.objective.labelled
    if labelled is None:
        return []
    counts = manifest.class_counts(domain_names(config)[labelled], "train")
    return [name for name, count in zip(manifest.class_names, counts or (), strict=bool(counts)) if not count]
