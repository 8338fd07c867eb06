"""`python -m job evaluate`: evaluate a checkpoint on one split of both domains."""

import json
import os
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from job.evaluation.card import model_card
from job.evaluation.evaluate import DomainReport, evaluate_domain
from job.evaluation.load import load_model
from job.evaluation.metrics import accuracy, macro_f1, recall
from job.evaluation.report_files import as_json
from job.evaluation.selection import mutual_information
from job.shards.manifest import load_manifest
from job.shards.reading.augment import normalise
from job.system.errors import JobError
from job.system.files import check_output, write_atomically
from job.system.memory import keep_freed_memory
from job.system.outputs import Outputs
from job.system.secrets import scrub, scrub_all
from job.training.distributed import check_gpus, check_ranks
from job.training.inputs import domain_names, open_store
from job.vocabulary import DOMAINS


def evaluate_checkpoint(
    path: Path, split: str, shards: str | None, out: Path | None, allow_pipe: bool = False
) -> tuple[str, Outputs]:
    """Evaluate a checkpoint on all ranks; write the metrics as JSON to `out`, and a model card.

    Return a table (empty on all ranks but the main one) and the outputs that could not be written: print the table
    first, then check the outputs.

    The model card is written to `evaluation/` of the checkpoint's run folder, or beside `out` if there is no such
    folder. `shards` replaces the shards of the training; `allow_pipe` permits shell commands in their URL, which a
    checkpoint cannot permit itself. Raise JobError when the checkpoint cannot be used, or the shards have other classes
    or another image size.
    """
    check_gpus()
    if out is not None and int(os.environ.get("RANK", 0)) == 0:
        check_output("--out", out)
    accelerator = Accelerator()
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    check_ranks(accelerator)
    result = _evaluate(accelerator, path, split, shards, out, allow_pipe)
    # ranks leave together: one that exits early may be aborted in the threads of its process group
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return result


def _evaluate(
    accelerator: Accelerator, path: Path, split: str, shards: str | None, out: Path | None, allow_pipe: bool
) -> tuple[str, Outputs]:
    loaded = load_model(path)
    config = loaded.config.with_pipe(allow_pipe)
    place = shards or config.data.shards
    manifest = load_manifest(place, allow_pipe=allow_pipe)
    for name, trained, stored in (
        ("classes", loaded.class_names, manifest.class_names),
        ("image size", loaded.size, manifest.size),
    ):
        if trained != stored:
            raise JobError(f"{place} does not match {path}: {name} {stored}, and the model was trained on {trained}")
    if loaded.gray and not manifest.gray:
        raise JobError(f"{place} is in colour, and the model was trained without: write the shards with --gray")
    model = loaded.model.to(accelerator.device)
    store = open_store(config, place)
    names, data = domain_names(config), config.data
    reports = [
        evaluate_domain(
            model,
            accelerator,
            manifest,
            store,
            names[role],
            split,
            normalise=lambda images: normalise(images, data.mean, data.std, standardize=data.standardize),
            batch_size=config.evaluation.batch_size,
            threads=config.data.threads,
            progress=accelerator.is_main_process,
        )
        for role in DOMAINS
    ]
    if not accelerator.is_main_process:
        return "", Outputs()
    outputs = Outputs()
    if out is not None:
        content = {"checkpoint": str(path), "step": loaded.step, "shards": place, "split": split}
        content |= {"class_names": manifest.class_names}
        content |= {role: as_json(report) | _measures(report) for role, report in zip(DOMAINS, reports, strict=True)}
        with outputs.writing(out):
            write_atomically(out, json.dumps(scrub_all(content), indent=1) + "\n")
    table = _table(reports, manifest.class_names)
    card_path = _card_path(path, split, out)
    if card_path is not None:
        by_role = dict(zip(DOMAINS, reports, strict=True))
        with outputs.writing(card_path):
            write_atomically(card_path, scrub(model_card(config, manifest, str(path), loaded.step, split, by_role)))
            table += f"\n\nmodel card: {card_path}"
    return table, outputs


def _card_path(checkpoint: Path, split: str, out: Path | None) -> Path | None:
    """Return the path of the model card of a split, or None when there is no folder for it."""
    name = "model_card.md" if split == "test" else f"model_card_{split}.md"
    evaluation = checkpoint.absolute().parent.parent / "evaluation"
    if evaluation.is_dir():
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
