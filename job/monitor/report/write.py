"""``report.html``: a run on one page that opens from disk, with no network."""

import math
import shlex
import time
from html import escape
from pathlib import Path

import numpy as np
import yaml

from job.monitor.colours import ROLE, SOURCE, TARGET, class_colours
from job.monitor.figures.bins import BINS, histograms
from job.monitor.report.parts import card, cards, confusion_table, face_grid, number_table, page, tiles
from job.monitor.report.svg import Line, bars, legend, line_chart, scatter, steps_chart
from job.run_folder.run_view import ROLES, RunView
from job.system.files import write_atomically

NAME = "report.html"
REFRESH = 60  # seconds, while the run goes on
GREY = "#8a8f98"


def write_report(run: RunView) -> Path:
    """Write the report of a run as it stands; whole at any moment."""
    status = run.status.get("status", "running")
    body = _head(run, status) + _alerts(run) + _curves(run) + _emotions(run) + _features(run) + _faces(run)
    body += _held_out(run) + _reproduce(run)
    path = run.folder / NAME
    write_atomically(path, page(run.config["name"], body, REFRESH if status == "running" else None))
    return path


def _head(run: RunView, status: str) -> str:
    step, steps = run.last("trainer/step") or 0, run.config["train"]["steps"]
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    objective, backbone = run.config["objective"]["name"], run.config["model"]["backbone"]
    told = f"{objective}, {backbone}, seed {run.config['seed']}; step {step:,} of {steps:,}; written {now}"
    values = {
        "source accuracy, validation": _fixed(run.last("val/source_accuracy")),
        "target accuracy, validation (oracle)": _fixed(run.last("oracle/target_accuracy")),
        "domain confusion (1: cannot tell)": _fixed(run.last("domain/confusion")),
        "proxy A-distance (0: alike, 2: apart)": _fixed(run.last("domain/a_distance")),
        "images a second": _rounded(run.last("speed/images_per_second")),
        "of the time waiting for data": _percent(run.last("speed/data_wait_fraction")),
    }
    return (
        f'<header><h1>{escape(run.config["name"])}</h1><span class="badge {escape(status)}">{escape(status)}</span>'
        f'<p>{escape(told)}</p></header><div class="bar"><i style="width:{100 * step / steps:.1f}%"></i></div>'
    ) + tiles(values)


def _alerts(run: RunView) -> str:
    if not run.alerts:
        return ""
    told = "".join(
        f'<div class="card alert {escape(alert["level"])}"><h3>{escape(alert["title"])} '
        f"(step {alert['trainer/step']})</h3>{escape(alert['text'])}</div>"
        for alert in run.alerts[-8:][::-1]
    )
    return f"<h2>Alerts</h2>{told}"


def _curves(run: RunView) -> str:
    end = run.config["train"]["steps"]

    def chart(*lines: tuple[str, str, str] | tuple[str, str, str, bool], **options) -> str:
        return line_chart([_line(run, *line) for line in lines], end=end, **options)

    labelled = "target" if run.config["objective"]["name"] == "train_on_target" else "source"
    return cards(
        "Curves",
        card(
            "Accuracy",
            chart(
                (f"train/{labelled}_accuracy", f"{labelled}, training", GREY),
                ("val/source_accuracy", "source, validation", SOURCE),
                ("oracle/target_accuracy", "target, validation (oracle)", TARGET, True),
                y=(None, 1),
            ),
        ),
        card(
            "Losses",
            chart(
                ("train/class_loss", "class", SOURCE),
                ("train/domain_loss", "domain", TARGET),
                y=(0, None),
                reference=2 * math.log(2) if run.adversarial else None,
            ),
            "dotted: 2 ln 2, the domain loss of a classifier that cannot tell" if run.adversarial else "",
        ),
        card(
            "Domains",
            chart(
                ("domain/confusion", "confusion", "#9a5bd6"),
                ("domain/accuracy", "accuracy of the domain classifier", TARGET),
                ("domain/a_distance", "proxy A-distance", "#19b3c4"),
                y=(0, None),
            ),
        ),
        card("Gradient handed back to the encoder", chart(("domain/reversed_gradient_norm", "norm", "#9a5bd6"))),
        card("Model selection", chart(*((name, name, SOURCE) for name in [f"selection/{run.score}"]))),
        card("Strength of the reversed gradient", chart(("schedule/lambda", "lambda", "#9a5bd6"), y=(0, None))),
        card("Learning rate", chart(("schedule/lr", "learning rate", GREY), y=(0, None))),
        card("Images a second", chart(("speed/images_per_second", "images a second", SOURCE), y=(0, None))),
        card(
            "Waiting for data",
            chart(("speed/data_wait_fraction", "share of the time", TARGET), y=(0, None), reference=0.2),
            "dotted: above it, data.threads or the disk hold the training up",
        ),
        small=True,
    )


def _emotions(run: RunView) -> str:
    if not run.evaluations:
        return ""
    names, end = run.class_names, run.config["train"]["steps"]
    colours = class_colours(names)

    def recalls(prefix: str) -> str:
        lines = [_line(run, prefix + name, name, colour) for name, colour in zip(names, colours, strict=True)]
        return line_chart(lines, y=(0, 1), end=end)

    predicted = np.array(run.evaluations[-1]["target"]["predicted"], float)
    true = run.confusion("source").sum(1)
    shares = {
        "target, predicted": (TARGET, predicted / predicted.sum()),
        "source, true": (SOURCE, true / true.sum()),
    }
    step = f"validation, step {run.evaluations[-1]['step']:,}; rows are true, cells percent of the row"
    return cards(
        "Emotions",
        card("Confusion, source", confusion_table(run.confusion("source"), names), step),
        card("Confusion, target", confusion_table(run.confusion("target"), names), step, oracle=True),
        card("Recall, source", recalls("val/source_recall/")),
        card("Recall, target", recalls("oracle/target_recall/"), oracle=True),
        card("Classes that the target is taken for", bars(names, shares), "validation; no target labels needed"),
        card("Target predictions over the run", recalls("val/target_prediction_share/")),
    )


def _features(run: RunView) -> str:
    where = run.feature_map
    if where is None:
        return ""
    names = run.class_names
    colours = np.array(class_colours(names))
    shapes = dict(zip(ROLES, ("circle", "triangle"), strict=True))
    by_domain = scatter([(where[role], [ROLE[role]] * len(where[role]), shapes[role]) for role in ROLES])
    by_domain += legend([(role, ROLE[role], False) for role in ROLES])
    key = legend([(name, colour, False) for name, colour in zip(names, colours, strict=True)])

    def by_emotion(target_classes: str) -> str:
        parts = zip(ROLES, ("source_labels", target_classes), strict=True)
        return scatter([(where[r], colours[run.sample[classes]], shapes[r]) for r, classes in parts]) + key

    method = {"pca": "principal components", "tsne": "t-SNE"}[run.config["evaluation"]["feature_map"]]
    about = f"{method} of {len(where['source'])} source (circles) and {len(where['target'])} target (triangles) faces"
    shares = histograms(run)
    histogram = ""
    if shares is not None:
        series = {role: (ROLE[role], heights) for role, heights in shares.items()}
        histogram = steps_chart(BINS, series, "probability of being target, share of the validation samples")
    return cards(
        "Features",
        card("By domain", by_domain, about),
        card("By emotion", by_emotion("target_predicted"), f"{about}; source: true class, target: predicted class"),
        card(
            "By emotion, true classes",
            by_emotion("target_labels") if run.target_labels_known else "",
            about,
            oracle=True,
        ),
        card("Domain predictions", histogram),
    )


def _faces(run: RunView) -> str:
    names = run.class_names
    return cards(
        "Faces",
        card(
            "Target faces", face_grid(run.sample, "target_faces", names, False), "prediction and confidence", wide=True
        ),
        card("Source: most confident mistakes", face_grid(run.sample, "source_mistakes", names, True)),
        card("Target: most confident mistakes", face_grid(run.sample, "target_mistakes", names, True), oracle=True),
    )


def _held_out(run: RunView) -> str:
    if run.test is None:
        return ""
    names = run.test["class_names"]
    matrices = {
        role: None if run.test[role]["confusion"] is None else np.array(run.test[role]["confusion"]) for role in ROLES
    }
    keys = [key for key in run.summary if key.startswith(("test/", "oracle/test_target", "selection/chosen"))]
    return cards(
        "Test split, the chosen checkpoint",
        card("Result", number_table({key: run.summary[key] for key in keys}), wide=True),
        card("Confusion, source", confusion_table(matrices["source"], names)),
        card("Confusion, target", confusion_table(matrices["target"], names), oracle=True),
    )


def _reproduce(run: RunView) -> str:
    again = shlex.quote(f"{run.config['name']}-again")
    command = f"launch/local.sh {shlex.quote(str(run.folder / 'config.yaml'))} name={again}"
    version = run.facts.get("code_version")
    checkout = f"git checkout {version.removesuffix('+changes')}\n" if version else ""
    config = escape(yaml.safe_dump(run.config, sort_keys=False))
    files = (
        "metrics.jsonl holds the numbers, evaluation/ the confusion matrices, figures/ the pictures, log.txt the log"
    )
    told = cards(
        "Reproduce",
        card("With", number_table(run.facts)),
        card("Command", f"<pre>{escape(checkout + command)}</pre>", files),
    )
    return (
        f'{told}<h2>Configuration</h2><details class="card"><summary>config.yaml</summary><pre>{config}</pre></details>'
    )


def _line(run: RunView, metric: str, name: str, colour: str, dashed: bool = False) -> Line:
    return Line(name, *run.series(metric), colour, dashed)


def _fixed(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"
