"""The model card: what a model was trained on, and how often it is wrong, for every domain and every class.

After Mitchell et al. 2019, "Model Cards for Model Reporting", as far as a program can know it.
"""

import math

import numpy as np

from job.config.schema import Config
from job.evaluation.evaluate import DomainReport
from job.evaluation.intervals import wilson
from job.evaluation.markdown import code, plain, table
from job.evaluation.metrics import UNMEASURED, accuracy, macro_f1, recall
from job.evaluation.selection import mutual_information
from job.methods import METHODS
from job.shards.manifest import Manifest
from job.vocabulary import SOURCE, TARGET

_FEW = 30  # images of a class below which its figures say little
_WARNING = """\
It predicts how a picture would be labelled, not what a person feels. It must not decide about anybody, nor be used to
infer emotions at work or in education, which the EU AI Act (Regulation (EU) 2024/1689, Article 5(1)(f)) prohibits with
narrow exceptions. The two domains are what a data set calls them: where they are genders, they are binary labels that
somebody else gave. See docs/responsible_use.md before using it on pictures of people."""


def model_card(
    config: Config, manifest: Manifest, checkpoint: str, step: int, split: str, reports: dict[str, DomainReport]
) -> str:
    """Markdown. `reports` by role, source and target; figures need labels, without which shares are all there is."""
    parts = [
        f"# Model card: {plain(config.name)}",
        _WARNING,
        "## The model",
        table(
            ["", ""],
            [
                ["checkpoint", f"{code(checkpoint)}, step {step}"],
                ["network", plain(f"{config.model.backbone}, weights {config.model.weights}")],
                ["method", _method(config)],
                ["checkpoint chosen by", plain(config.score)],
                ["labels used in training", _labels(config)],
            ],
        ),
        "## The data",
        _data(config, manifest),
        f"## Errors on the {plain(split)} split",
        "Each figure with its 95 % interval (Wilson), as if the images were independent: several of one person are "
        f"not, so the truth is less certain than it looks. Rows of fewer than {_FEW} images are marked *few*.",
    ]
    for role, report in reports.items():
        parts += [f"### {_title(config, manifest, role)}", *_errors(report, manifest.class_names)]
    if all(report.confusion is not None and report.labelled for report in reports.values()):
        parts += ["## Difference between the domains", _difference(reports, manifest.class_names)]
    return "\n\n".join(parts) + "\n"


def _title(config: Config, manifest: Manifest, role: str) -> str:
    """The role, and what the data set calls the domain."""
    named = manifest.options.get(getattr(config.data, role))
    return f"{role}: {plain(named)}" if named else role


def _method(config: Config) -> str:
    """The objective and those of its settings that are not the defaults."""
    settings = config.objective.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
    return plain(", ".join([config.objective.name, *(f"{key} {value}" for key, value in settings.items())]))


def _labels(config: Config) -> str:
    labelled = METHODS[config.objective.name].labelled
    only_source = "the source's alone" if labelled == SOURCE else "none"
    return "the target's, to train and to choose the checkpoint" if labelled == TARGET else only_source


def _data(config: Config, manifest: Manifest) -> str:
    rows = [
        ["layout", plain(manifest.layout)],
        [
            "images",
            f"{manifest.size} x {manifest.size} px, crop {plain(manifest.crop)}, JPEG quality {manifest.quality}",
        ],
    ]
    for role in ("source", "target"):
        splits = manifest.domains[getattr(config.data, role)]
        counts = ", ".join(f"{split} {sum(info.samples for info in infos)}" for split, infos in splits.items())
        rows.append([_title(config, manifest, role), counts])
    rows += [["left out", f"{count} {plain(what)}"] for what, count in manifest.left_out.items()]
    return table(["", ""], rows)


def _errors(report: DomainReport, names: tuple[str, ...]) -> list[str]:
    if report.confusion is None or not report.labelled:
        return [f"{report.samples} images; {UNMEASURED}.", *_without_labels(report, names)]
    right, total = int(np.trace(report.confusion)), report.labelled
    of_all = f" of {report.samples}" if total < report.samples else ""
    note = " The other images have no label and are not counted." if of_all else ""
    head = (
        f"{total}{of_all} images: accuracy {accuracy(report.confusion):.3f} ({_interval(right, total)}), "
        f"macro-F1 {macro_f1(report.confusion):.3f}.{note}"
    )
    labelled_predictions = report.confusion.sum(0)  # of the images whose class is known
    rows = []
    for i, name in enumerate(names):
        found, of, predicted = (
            int(n) for n in (report.confusion[i, i], report.confusion[i].sum(), labelled_predictions[i])
        )
        rows.append(
            [
                plain(name) + (" *few*" if of < _FEW else ""),
                str(of),
                "-" if not of else f"{1 - found / of:.3f} ({_interval(of - found, of)})",
                "-" if not predicted else f"{1 - found / predicted:.3f}",
                _taken_for(report.confusion[i], i, names),
            ]
        )
    return [head, table(["class", "images", "missed", "wrong when predicted", "most often taken for"], rows)]


def _without_labels(report: DomainReport, names: tuple[str, ...]) -> list[str]:
    """What can be said of unlabelled images: what was predicted, how often, and how surely."""
    parts = [
        f"What can be seen without labels: information maximisation {mutual_information(report):.3f} (1: sure of each "
        "image and all classes predicted, 0: unsure, or one class for all)."
    ]
    if report.confidence is not None:
        shares = report.confidence / max(report.confidence.sum(), 1)
        sure, unsure = (float(part.sum()) for part in (shares[-len(shares) // 10 :], shares[: len(shares) // 2]))
        parts.append(
            f"The predicted class has a probability above 0.9 in {100 * sure:.0f} % of the images, and below 0.5 in "
            f"{100 * unsure:.0f} %."
        )
    shares = [[plain(name), str(int(n)), f"{n / report.samples:.3f}"] for name, n in zip(names, report.predicted)]
    return [" ".join(parts), table(["class", "images predicted so", "share of the predictions"], shares)]


def _difference(reports: dict[str, DomainReport], names: tuple[str, ...]) -> str:
    """Error rates side by side: whom the model serves worse."""
    source, target = reports.values()
    rows = [["all", *_compared(1 - accuracy(source.confusion), 1 - accuracy(target.confusion))]]
    for name, one, other in zip(names, 1 - recall(source.confusion), 1 - recall(target.confusion)):
        rows.append([plain(name), *_compared(one, other)])
    return table(["missed", *reports, "target minus source"], rows)


def _compared(one: float, other: float) -> list[str]:
    cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in (one, other)]
    return [*cells, "-" if "-" in cells else f"{other - one:+.3f}"]


def _taken_for(row: np.ndarray, own: int, names: tuple[str, ...]) -> str:
    wrong = row.copy()
    wrong[own] = 0
    return "-" if wrong.max() == 0 else f"{plain(names[int(wrong.argmax())])} ({int(wrong.max())})"


def _interval(count: int, total: int) -> str:
    return " to ".join(f"{max(edge, 0.0):.3f}" for edge in wilson(count, total))
