"""`python -m job evaluate`: evaluate a checkpoint on one split of both domains."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accelerate import Accelerator

from job.evaluation.a_distance import domain_metrics
from job.evaluation.card import model_card
from job.evaluation.evaluate import DomainReport, evaluate_domain
from job.evaluation.load import build_model
from job.evaluation.metrics import accuracy, macro_f1, recall
from job.evaluation.predictions import open_shards_of
from job.evaluation.report_files import as_json
from job.evaluation.results.bootstrap import Clusters, clusters_of
from job.evaluation.results.describe import describe_domain, describe_gap
from job.evaluation.results.tables import as_latex, as_lines, as_markdown
from job.evaluation.selection import mutual_information
from job.run_folder.remote_checkpoint import address_of
from job.shards.manifest import Manifest
from job.shards.reading.augment import normalise
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.subjects import read_subjects
from job.system.files import check_output, make_folder, write_atomically
from job.system.memory import keep_freed_memory
from job.system.outputs import Outputs
from job.system.ranks import rank_hosts
from job.system.secrets import scrub, scrub_all
from job.training.distributed import check_gpus, check_ranks
from job.training.inputs import domain_names, open_store
from job.training.shared_checkpoint import fetched_checkpoint
from job.vocabulary import DOMAINS, SOURCE, TARGET


class Evaluated(NamedTuple):
    """The result of an evaluation; on all ranks but the main one an empty table and no results.

    Print the table first, then check the outputs: some may not have been written.
    """

    table: str
    outputs: Outputs
    results: dict[str, Any]  # as in results.json: job.evaluation.results


def evaluate_checkpoint(
    path: str | Path,
    split: str,
    shards: str | None,
    out: Path | None,
    allow_pipe: bool = False,
    paper: Path | None = None,
) -> Evaluated:
    """Evaluate a checkpoint on all ranks; write the metrics as JSON to `out`, tables to `paper`, and a model card.

    The model card is written to `evaluation/` of the checkpoint's run folder, or beside `out` if there is no such
    folder. `shards` replaces the shards of the training; `allow_pipe` permits shell commands in their URL, which a
    checkpoint cannot permit itself. Raise JobError when the checkpoint cannot be used, or the shards have other classes
    or another image size.
    """
    check_gpus()
    if out is not None and int(os.environ.get("RANK", 0)) == 0:
        check_output("--out", out)
    if paper is not None and int(os.environ.get("RANK", 0)) == 0:
        make_folder("--paper", paper)
    accelerator = Accelerator()
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    check_ranks(accelerator)
    result = _evaluate(accelerator, path, split, shards, out, allow_pipe, paper)
    # ranks leave together: one that exits early may be aborted in the threads of its process group
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return result


def _evaluate(
    accelerator: Accelerator,
    path: str | Path,
    split: str,
    shards: str | None,
    out: Path | None,
    allow_pipe: bool,
    paper: Path | None,
) -> Evaluated:
    hosts = rank_hosts(accelerator)
    with fetched_checkpoint(path, accelerator, hosts) as checkpoint:
        loaded = build_model(checkpoint, path)
    config = loaded.config.with_pipe(allow_pipe)
    place = shards or config.data.shards
    manifest, protocol = open_shards_of(loaded, path, shards, allow_pipe, accelerator, hosts)
    model = loaded.model.to(accelerator.device)
    store = open_store(config, place)
    names, data = domain_names(config), config.data
    if set(manifest.domains) == {names[TARGET]}:  # an unlabelled target needs no source to be evaluated
        del names[SOURCE]
    reports = [
        evaluate_domain(
            model,
            accelerator,
            manifest,
            store,
            name,
            split,
            normalise=lambda images: normalise(images, data.mean, data.std, standardize=data.standardize),
            batch_size=config.evaluation.batch_size,
            threads=config.data.threads,
            probe_samples=config.evaluation.probe_samples,
            progress=accelerator.is_main_process,
            every_row=True,
        )
        for name in names.values()
    ]
    if not accelerator.is_main_process:
        return Evaluated("", Outputs(), {})
    outputs = Outputs()
    about = {"checkpoint": str(path), "step": loaded.step, "shards": place, "split": split, "protocol": protocol}
    about |= {"method": config.objective.name, "class_names": list(manifest.class_names)}
    absent = [] if SOURCE in names else [DomainReport.absent(SOURCE, split, len(manifest.class_names))]
    results: dict[str, Any] = scrub_all(about | measure([*absent, *reports], manifest, store))
    if paper is not None:
        files = {"results.json": json.dumps(results, indent=1) + "\n", "results.md": as_markdown(results)}
        for name, text in (files | as_latex(results)).items():
            with outputs.writing(paper / name):
                write_atomically(paper / name, text)
    if out is not None:
        content = about | {"results": {key: results[key] for key in ("domains", "gap", "a_distance")}}
        content |= {role: as_json(report) | _measures(report) for role, report in zip(names, reports, strict=True)}
        with outputs.writing(out):
            write_atomically(out, json.dumps(scrub_all(content), indent=1) + "\n")
    table = "\n".join([_table(reports, manifest.class_names), "", *as_lines(results)])
    card_path = _card_path(path, split, out)
    if card_path is not None:
        by_role = dict(zip(names, reports, strict=True))
        with outputs.writing(card_path):
            write_atomically(card_path, scrub(model_card(config, manifest, str(path), loaded.step, split, by_role)))
            table += f"\n\nmodel card: {card_path}"
    return Evaluated(table, outputs, results)


def measure(reports: list[DomainReport], manifest: Manifest, store: ShardStore) -> dict[str, Any]:
    """Return the measures on the rows of source and target: each domain, the gap, the A-distance.

    A domain without labels is None, and so is what needs it.
    """
    clusters: dict[str, Clusters | None] = {}
    for role, report in zip(DOMAINS, reports, strict=True):
        clusters[role] = None
        if report.rows is not None and (report.rows.labels >= 0).any():
            clusters[role] = clusters_of([(report.rows, read_subjects(manifest, store, report.domain, report.split))])
    source, target = clusters[SOURCE], clusters[TARGET]
    domains: dict[str, dict[str, Any] | None] = dict.fromkeys(DOMAINS)
    for report, (role, each) in zip(reports, clusters.items(), strict=True):
        if each is not None and report.confusion is not None:
            domains[role] = describe_domain(each, manifest.class_names) | {"confusion": report.confusion.tolist()}
    return {
        "domains": domains,
        "gap": describe_gap(source, target) if source and target else None,
        "a_distance": domain_metrics(*(report.sample for report in reports)).get("domain/a_distance"),
    }


def _card_path(checkpoint: str | Path, split: str, out: Path | None) -> Path | None:
    """Return the path of the model card of a split, or None when there is no folder for it."""
    name = "model_card.md" if split == "test" else f"model_card_{split}.md"
    evaluation = Path(checkpoint).absolute().parent.parent / "evaluation"
    if address_of(checkpoint) is None and evaluation.is_dir():
        return evaluation / name
    return None if out is None else out.parent / name


def _measures(report: DomainReport) -> dict[str, float]:
    measures = {"mutual_information": mutual_information(report)}
    if report.confusion is not None:
        measures |= {"accuracy": accuracy(report.confusion), "macro_f1": macro_f1(report.confusion)}
    return measures


def _table(reports: list[DomainReport], class_names: tuple[str, ...]) -> str:
    lines = [f"{'domain':<10} {'split':<6} {'samples':>8} {'accuracy':>9} {'macro-F1':>9}   recall per class"]
    for report in reports:
        head = f"{report.domain:<10} {report.split:<6} {report.samples:>8}"
        if report.confusion is None:
            shares = report.predicted / report.samples
            predicted = "  ".join(f"{name} {share:.2f}" for name, share in zip(class_names, shares, strict=True))
            lines.append(f"{head} {'-':>9} {'-':>9}   no labels; predicted: {predicted}")
        else:
            recalls = zip(class_names, recall(report.confusion), strict=True)
            per_class = "  ".join(f"{name} {'-' if np.isnan(value) else f'{value:.2f}'}" for name, value in recalls)
            lines.append(f"{head} {accuracy(report.confusion):>9.4f} {macro_f1(report.confusion):>9.4f}   {per_class}")
            if report.labelled < report.samples:
                lines.append(f"{'':<17} {report.labelled:>8} of these have a label: the metrics are measured on those")
    return "\n".join(lines)
