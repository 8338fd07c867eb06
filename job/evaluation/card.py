"""The model card: what a model was trained on, and how often it is wrong, for every domain and every emotion.

After Mitchell et al. 2019, "Model Cards for Model Reporting", as far as a program can know it.
"""

import math

import numpy as np

from job.config.schema import Config
from job.evaluation.evaluate import DomainReport
from job.evaluation.metrics import accuracy, macro_f1, recall
from job.shards.manifest import Manifest

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
        f"# Model card: {config.name}",
        _WARNING,
        "## The model",
        _table(
            ["", ""],
            [
                ["checkpoint", f"`{checkpoint}`, step {step}"],
                ["network", f"{config.model.backbone}, weights {config.model.weights}"],
                ["method", _method(config)],
                ["checkpoint chosen by", config.score],
                ["labels used in training", _labels(config)],
            ],
        ),
        "## The data",
        _data(config, manifest),
        f"## Errors on the {split} split",
        "Each figure with its 95 % interval (Wilson), as if the images were independent: several of one person are "
        f"not, so the truth is less certain than it looks. Rows of fewer than {_FEW} images are marked *few*.",
    ]
    for role, report in reports.items():
        parts += [f"### {_title(config, manifest, role)}", *_errors(report, manifest.class_names)]
    if all(report.confusion is not None for report in reports.values()):
        parts += ["## Difference between the domains", _difference(reports, manifest.class_names)]
    return "\n\n".join(parts) + "\n"


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); 0 to 1 where there is nothing to count."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.959964, right / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def _title(config: Config, manifest: Manifest, role: str) -> str:
    """The role, and what the data set calls the domain."""
    held = getattr(config.data, role)
    named = manifest.options.get(held)
    return f"{role}: {named}" if named else role


def _method(config: Config) -> str:
    if config.objective.name == "dann":
        return f"domain-adversarial training, lambda up to {config.objective.lambda_max:g}"
    return config.objective.name.replace("_", " ")


def _labels(config: Config) -> str:
    target = config.objective.name == "train_on_target"
    return "the target's, to train and to choose the checkpoint" if target else "the source's alone"


def _data(config: Config, manifest: Manifest) -> str:
    rows = [
        ["layout", manifest.layout],
        ["images", f"{manifest.size} x {manifest.size} px, crop {manifest.crop}, JPEG quality {manifest.quality}"],
    ]
    for role in ("source", "target"):
        splits = manifest.domains[getattr(config.data, role)]
        counts = ", ".join(f"{split} {sum(info.samples for info in infos)}" for split, infos in splits.items())
        rows.append([_title(config, manifest, role), counts])
    rows += [["left out", f"{count} {what}"] for what, count in manifest.left_out.items()]
    return _table(["", ""], rows)


def _errors(report: DomainReport, names: tuple[str, ...]) -> list[str]:
    if report.confusion is None:
        shares = [[name, f"{n / report.samples:.3f}"] for name, n in zip(names, report.predicted)]
        told = f"{report.samples} images without labels: errors cannot be counted, only what was predicted."
        return [told, _table(["emotion", "share of the predictions"], shares)]
    right, total = int(np.trace(report.confusion)), report.labelled
    head = (
        f"{_of_all(report)} images: accuracy {accuracy(report.confusion):.3f} ({_interval(right, total)}), "
        f"macro-F1 {macro_f1(report.confusion):.3f}."
    )
    rows = []
    for i, name in enumerate(names):
        found, of, predicted = (
            int(n) for n in (report.confusion[i, i], report.confusion[i].sum(), report.predicted[i])
        )
        rows.append(
            [
                name + (" *few*" if of < _FEW else ""),
                str(of),
                "-" if not of else f"{1 - found / of:.3f} ({_interval(of - found, of)})",
                "-" if not predicted else f"{1 - found / predicted:.3f}",
                _taken_for(report.confusion[i], i, names),
            ]
        )
    return [head, _table(["emotion", "images", "missed", "wrong when predicted", "most often taken for"], rows)]


def _of_all(report: DomainReport) -> str:
    """How many images the errors are counted on."""
    return str(report.samples) if report.labelled == report.samples else f"{report.labelled} of {report.samples}"


def _difference(reports: dict[str, DomainReport], names: tuple[str, ...]) -> str:
    """Error rates side by side: whom the model serves worse."""
    source, target = reports.values()
    rows = [["all", *_compared(1 - accuracy(source.confusion), 1 - accuracy(target.confusion))]]
    for name, one, other in zip(names, 1 - recall(source.confusion), 1 - recall(target.confusion)):
        rows.append([name, *_compared(one, other)])
    return _table(["missed", *reports, "target minus source"], rows)


def _compared(one: float, other: float) -> list[str]:
    cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in (one, other)]
    return [*cells, "-" if "-" in cells else f"{other - one:+.3f}"]


def _taken_for(row: np.ndarray, own: int, names: tuple[str, ...]) -> str:
    wrong = row.copy()
    wrong[own] = 0
    return "-" if wrong.max() == 0 else f"{names[int(wrong.argmax())]} ({int(wrong.max())})"


def _interval(count: int, total: int) -> str:
    return " to ".join(f"{max(edge, 0.0):.3f}" for edge in wilson(count, total))


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
