"""The predictions of a checkpoint for every image of a split, with the subjects, in one process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from job.evaluation.evaluate import evaluate_domain
from job.evaluation.load import Loaded, load_model
from job.evaluation.rows import Rows
from job.shards.folds import arrange, count_folds
from job.shards.manifest import Manifest, load_manifest
from job.shards.reading.augment import normalise
from job.shards.reading.subjects import read_subjects
from job.system.errors import JobError
from job.system.ranks import rank_hosts
from job.training.inputs import domain_names, open_store
from job.training.shared_manifest import share_manifest
from job.vocabulary import HELD_OUT


@dataclass(frozen=True)
class Predictions:
    """The predictions of a checkpoint for one split of one domain."""

    rows: Rows
    subjects: list[str | None]  # of each row
    class_names: tuple[str, ...]
    protocol: str
    shards: tuple[str, ...]  # sha256 of each shard, in order


def predict_rows(
    path: Path,
    accelerator: Accelerator,
    roles: Sequence[str],
    split: str = "test",
    shards: str | None = None,
    allow_pipe: bool = False,
    trained_on: str | None = None,
) -> dict[str, Predictions]:
    """Return the predictions of a checkpoint, or of a run's best one, by role (source, target), if the shards have it.

    `shards` replaces the shards of the training. `trained_on` is the hash that the present ones must have; None: any.
    Raises JobError when the checkpoint or the shards cannot be used.
    """
    best = path / "checkpoints" / "best"
    path = best if best.exists() else path
    loaded = load_model(path)
    config = loaded.config.with_pipe(allow_pipe)
    manifest, protocol = open_shards_of(loaded, path, shards, allow_pipe, accelerator, rank_hosts(accelerator))
    if trained_on not in (None, manifest.hash):
        raise JobError(f"{path} was trained on other shards than {shards or config.data.shards}: restore those")
    model = loaded.model.to(accelerator.device)
    store, names, data, found = open_store(config, shards), domain_names(config), config.data, {}
    try:
        for role in (role for role in roles if names[role] in manifest.domains):
            report = evaluate_domain(
                model,
                accelerator,
                manifest,
                store,
                names[role],
                split,
                normalise=lambda images: normalise(images, data.mean, data.std, standardize=data.standardize),
                batch_size=config.evaluation.batch_size,
                threads=config.data.threads,
                every_row=True,
            )
            if report.rows is None:
                raise RuntimeError("the evaluation kept no rows")
            subjects = read_subjects(manifest, store, names[role], split)
            hashes = tuple(shard.sha256 for shard in manifest.shards(names[role], split))
            found[role] = Predictions(report.rows, subjects, loaded.class_names, protocol, hashes)
    finally:
        store.close()
    return found


def open_shards_of(
    loaded: Loaded,
    path: str | Path,
    shards: str | None,
    allow_pipe: bool,
    accelerator: Accelerator,
    hosts: Sequence[str],
) -> tuple[Manifest, str]:
    """Return the manifest with the splits to evaluate a checkpoint on, and the protocol of that test.

    All ranks must call this; one rank of each node reads the manifest. `hosts` are the nodes of the ranks.

    Without `shards`, these are the splits of the training. Images of other shards were not adapted to, so their test
    is one on held-out images. Raises JobError when the shards have other classes or another image size.
    """
    config = loaded.config
    protocol = config.protocol if shards is None else HELD_OUT

    def read() -> Manifest:
        manifest = _matching(loaded, path, shards or config.data.shards, allow_pipe)
        fold = config.data.fold if shards is None or count_folds(manifest) else None
        return arrange(manifest, fold, protocol, config.data.source, config.data.target)

    return share_manifest(accelerator, hosts, read), protocol


def _matching(loaded: Loaded, path: str | Path, place: str, allow_pipe: bool) -> Manifest:
    """Read a manifest. Raises JobError unless its images are like those that the model was trained on."""
    manifest = load_manifest(place, allow_pipe=allow_pipe)
    for name, trained, stored in (
        ("classes", loaded.class_names, manifest.class_names),
        ("image size", loaded.size, manifest.size),
    ):
        if trained != stored:
            raise JobError(f"{place} does not match {path}: {name} {stored}, and the model was trained on {trained}")
    if loaded.gray and not manifest.gray:
        raise JobError(f"{place} is in colour, and the model was trained without: write the shards with --gray")
    return manifest
