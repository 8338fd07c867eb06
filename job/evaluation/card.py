"""The model card: what a model was trained on, and its error rates in each domain and class.

After Mitchell et al. 2019, "Model Cards for Model Reporting", limited to what a program can know.
"""

import math

import numpy as np
from pydantic import BaseModel

from job.config.objectives import method_label
from job.config.schema import Config
from job.evaluation.evaluate import DomainReport
from job.evaluation.intervals import wilson
from job.evaluation.markdown import code, plain, table
from job.evaluation.metrics import UNMEASURED, accuracy, macro_f1, recall
from job.evaluation.protocol import described
from job.evaluation.selection import mutual_information
from job.shards.manifest import Manifest
from job.vocabulary import DOMAINS, SOURCE, TARGET

_FEW = 30  # with fewer images of a class, its error rates are marked as uncertain
WARNING = """\
This model predicts how an image would be labelled, not what a person feels. Do not use it to decide about people, or
to infer emotions at work or in education, which the EU AI Act (Regulation (EU) 2024/1689, Article 5(1)(f)) prohibits
with narrow exceptions. The names of the two domains come from the data set: genders among them are binary labels that
somebody else assigned. Read docs/responsible_use.md before using the model on images of people."""


def model_card(
    config: Config, manifest: Manifest, checkpoint: str, step: int, split: str, reports: dict[str, DomainReport]
) -> str:
    """Return the model card as Markdown. `reports` maps each role that was evaluated to its report.

    Error rates need labels; an unlabelled domain gets the shares of the predicted classes instead.
    """
    parts = [
        f"# Model card: {plain(config.name)}",
        WARNING,
        "## The model",
        table(
            ["", ""],
            [
                ["checkpoint", f"{code(checkpoint)}, step {step}"],
                ["network", plain(f"{config.model.backbone}, weights {config.model.weights}")],
                ["method", _method(config)],
                ["checkpoint chosen by", plain(config.score)],
                ["labels used in training", _labels(config)],
                ["protocol", _protocol(config)],
            ],
        ),
        "## The data",
        _data(config, manifest),
        f"## Errors on the {plain(split)} split",
        "Each rate has a 95 % interval (Wilson) that treats the images as independent. Several images of one person "
        f"are not, so the true uncertainty is larger. Rows with fewer than {_FEW} images are marked *few*.",
    ]
    for role, report in reports.items():
        parts += [f"### {_title(config, manifest, role)}", *_errors(report, manifest.class_names)]
    if len(reports) == 2 and all(report.confusion is not None and report.labelled for report in reports.values()):
        parts += ["## Difference between the domains", _difference(reports, manifest.class_names)]
    return "\n\n".join(parts) + "\n"


def _title(config: Config, manifest: Manifest, role: str) -> str:
    """Return the role and the name of its domain in the data set."""
    named = manifest.options.get(getattr(config.data, role))
    return f"{role}: {plain(named)}" if named else role


def _method(config: Config) -> str:
    """Return the names of the objective and of its terms, and their settings that differ from the defaults."""
    objective = config.objective
    settings = _changed(objective, {"name", "also"})
    settings += [f"{term.name} {setting}" for term in objective.terms for setting in _changed(term, {"name"})]
    return plain(", ".join([method_label(objective.model_dump()), *settings]))


def _changed(settings: BaseModel, exclude: set[str]) -> list[str]:
    values = settings.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
    return [f"{key} {value}" for key, value in values.items()]


def _labels(config: Config) -> str:
    labelled = config.objective.labelled
    without_target = "source labels" if labelled == SOURCE else "none"
    return "target labels, to train and to choose the checkpoint" if labelled == TARGET else without_target


def _protocol(config: Config) -> str:
    """Return the protocol and, of shards in folds, the fold."""
    fold = "" if config.data.fold is None else f"; fold {config.data.fold} was left out of training"
    return plain(f"{described(config.protocol)}{fold}")


def _data(config: Config, manifest: Manifest) -> str:
    rows = [
        ["layout", plain(manifest.layout)],
        [
            "images",
            f"{manifest.size} x {manifest.size} px, crop {plain(manifest.crop_in_words)}, "
            f"JPEG quality {manifest.quality}"
            + ", without colour" * manifest.gray
            + ", large JPEGs decoded at a reduced size" * bool(manifest.jpeg_scaling),
        ],
    ]
    for role in DOMAINS:
        splits = manifest.domains.get(getattr(config.data, role))
        if splits is None:
            rows.append([role, "none in these shards: nothing was measured on it"])
            continue
        counts = ", ".join(f"{split} {sum(info.samples for info in infos)}" for split, infos in splits.items())
        rows.append([_title(config, manifest, role), counts])
    rows += [["left out", f"{count} {plain(reason)}"] for reason, count in manifest.left_out.items()]
    return table(["", ""], rows)


def _errors(report: DomainReport, names: tuple[str, ...]) -> list[str]:
    if report.confusion is None or not report.labelled:
        return [f"{report.samples} images; {UNMEASURED}.", *_without_labels(report, names)]
    right, total = int(np.trace(report.confusion)), report.labelled
    of_all = f" of {report.samples}" if total < report.samples else ""
    note = " The other images have no label and do not count." if of_all else ""
    head = (
        f"{total}{of_all} images: accuracy {accuracy(report.confusion):.3f} ({_interval(right, total)}), "
        f"macro-F1 {macro_f1(report.confusion):.3f}.{note}"
    )
    labelled_predictions = report.confusion.sum(0)  # column sums over the labelled images
    rows = []
    for i, name in enumerate(names):
        correct, images, predicted = (
            int(n) for n in (report.confusion[i, i], report.confusion[i].sum(), labelled_predictions[i])
        )
        rows.append(
            [
                plain(name) + (" *few*" if images < _FEW else ""),
                str(images),
                "-" if not images else f"{1 - correct / images:.3f} ({_interval(images - correct, images)})",
                "-" if not predicted else f"{1 - correct / predicted:.3f}",
                _confused_with(report.confusion[i], i, names),
            ]
        )
    return [head, table(["class", "images", "missed", "wrong when predicted", "most often predicted as"], rows)]


def _without_labels(report: DomainReport, names: tuple[str, ...]) -> list[str]:
    """Describe the predictions on unlabelled images: how often each class is predicted, and how confidently."""
    parts = [
        f"Measured without labels: information maximisation {mutual_information(report):.3f} (1: confident "
        "predictions of all classes; 0: unsure, or one class for all images)."
    ]
    if report.confidence is not None:
        shares = report.confidence / max(report.confidence.sum(), 1)
        sure, unsure = (float(part.sum()) for part in (shares[-len(shares) // 10 :], shares[: len(shares) // 2]))
        parts.append(
            f"The predicted class has a probability above 0.9 in {100 * sure:.0f} % of the images, and below 0.5 in "
            f"{100 * unsure:.0f} %."
        )
    shares = [[plain(name), str(int(n)), f"{n / report.samples:.3f}"] for name, n in zip(names, report.predicted)]
    return [" ".join(parts), table(["class", "predictions", "share of the predictions"], shares)]


def _difference(reports: dict[str, DomainReport], names: tuple[str, ...]) -> str:
    """Return a table of the error rates of both domains side by side."""
    source, target = reports.values()
    rows = [["all", *_compared(1 - accuracy(source.confusion), 1 - accuracy(target.confusion))]]
    for name, one, other in zip(names, 1 - recall(source.confusion), 1 - recall(target.confusion)):
        rows.append([plain(name), *_compared(one, other)])
    return table(["missed", *reports, "target minus source"], rows)


def _compared(one: float, other: float) -> list[str]:
    cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in (one, other)]
    return [*cells, "-" if "-" in cells else f"{other - one:+.3f}"]


def _confused_with(row: np.ndarray, own: int, names: tuple[str, ...]) -> str:
    wrong = row.copy()
    wrong[own] = 0
    return "-" if wrong.max() == 0 else f"{plain(names[int(wrong.argmax())])} ({int(wrong.max())})"


def _interval(count: int, total: int) -> str:
    return " to ".join(f"{max(edge, 0.0):.3f}" for edge in wilson(count, total))
