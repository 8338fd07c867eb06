"""Table of all metrics: name, title, panel, unit, direction, and whether it needs target labels.

The progress line, the curves of the report, the W&B dashboard, the comparison and the table in docs/monitoring.md are
all made from this table, so a metric that is added here appears in all of them. The title, panel and short name of an
unlisted metric, such as a term of a new method's loss (`train/centroid_loss`), are derived from its name.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

STEP = "trainer/step"
ORACLE = "oracle/"  # prefix of every validation and test metric that needs target labels
TEST_SOURCE, TEST_TARGET = "test/source_accuracy", "oracle/test_target_accuracy"
TEST_TARGET_RECALL = "oracle/test_target_recall/"
TARGET_SHARES = "val/target_prediction_share/"
UP, DOWN, NONE = "up", "down", "-"  # which direction is better; NONE: neither


@dataclass(frozen=True)
class Panel:
    """A chart: its section of the dashboard, its vertical axis, and a reference level."""

    title: str
    section: str  # of the W&B workspace
    y: tuple[float | None, float | None] = (None, None)  # fixed limits
    reference: float | None = None  # horizontal line to draw
    of: str = ""  # the metric that the reference belongs to
    note: str = ""  # under the chart, in the report


@dataclass(frozen=True)
class Metric:
    """A metric, or a family of metrics where the name ends in `*`: one for each class or score."""

    name: str
    title: str  # in a legend; a `*` is replaced by the class or score
    panel: str  # title of a Panel; "": not charted
    better: str
    meaning: str  # for docs/monitoring.md
    unit: str = ""
    short: str = ""  # name in the progress line; "": not shown there
    form: str = ".4g"  # number format in the progress line
    labels: bool = False  # needs target labels

    def matches(self, name: str) -> bool:
        """Return whether this entry describes the metric `name`."""
        return name.startswith(self.name[:-1]) if self.name.endswith("*") else name == self.name

    def pattern(self) -> str:
        """Return a regular expression that matches the names of this entry."""
        return f"^{self.name[:-1]}" if self.name.endswith("*") else f"^{self.name}$"


OVERVIEW, ADAPTATION, PER_CLASS, SPEED = "Overview", "Adaptation", "Per emotion", "Speed"  # sections of the dashboard
PANELS = {
    panel.title: panel
    for panel in (
        Panel("Accuracy", OVERVIEW, (None, 1)),
        Panel("Macro-F1", OVERVIEW, (None, 1)),
        Panel(
            "Losses",
            OVERVIEW,
            (0, None),
            1.3863,
            "train/domain_loss",
            "dotted: 2 ln 2, the loss of a domain classifier that guesses",
        ),
        Panel("Model selection", OVERVIEW, note="scores that read no target label, except target_accuracy"),
        Panel("Scores in nats", OVERVIEW, note="scores that read no target label"),
        Panel("Domains", ADAPTATION, (0, None)),
        Panel(
            "Domain errors",
            ADAPTATION,
            (0, None),
            0.5,
            "domain/classifier_error",
            "on the same validation images; dotted: guessing. A classifier far above the probe is behind the encoder",
        ),
        Panel("Reversed gradient at the encoder", ADAPTATION),
        Panel("Norm of the features", ADAPTATION, (0, None)),
        Panel("Pseudo-labels", ADAPTATION, (0, 1)),
        Panel("Lambda", ADAPTATION, (0, None)),
        Panel("Learning rate", ADAPTATION, (0, None)),
        Panel("Recall, source", PER_CLASS, (0, 1)),
        Panel("Recall, target", PER_CLASS, (0, 1)),
        Panel("Target predictions", PER_CLASS, (0, 1), note="share of each class; needs no target labels"),
        Panel(
            "Estimated class shares, target",
            PER_CLASS,
            (0, None),
            note="maximum likelihood; needs no target labels; reliable only if most predictions are right",
        ),
        Panel("Estimated class shares, target (BBSE)", PER_CLASS, (0, None), note="needs no target labels"),
        Panel("Label shift", ADAPTATION, (0, None), note="needs no target labels"),
        Panel("Images a second", SPEED, (0, None)),
        Panel(
            "Waiting for data",
            SPEED,
            (0, None),
            0.2,
            "speed/data_wait_fraction",
            "dotted: above it, decoding (data.threads) or the disk slows training down",
        ),
        Panel("Duration of a step", SPEED, (0, None)),
        Panel(
            "Slowest rank",
            SPEED,
            (1, None),
            1.3,
            "speed/slowest_rank",
            "its own part of a step over that of the median rank; dotted: above it an alert names the rank",
        ),
        Panel("Checkpoints", SPEED, (0, None)),
        Panel("Skipped samples", SPEED, (0, None)),
    )
}
OTHER = "Other"  # panel of unlisted metrics that no rule below assigns

METRICS = (
    Metric("trainer/step", "step", "", NONE, "optimizer steps so far; the x axis of all other metrics"),
    Metric("trainer/epoch_source", "epoch, source", "", NONE, "passes over the source training split"),
    Metric("trainer/epoch_target", "epoch, target", "", NONE, "passes over the target training split"),
    Metric("train/class_loss", "class", "Losses", DOWN, "cross-entropy on labelled samples; ln C at chance", "nats",
           short="class"),
    Metric("train/domain_loss", "domain", "Losses", NONE, "loss of the domain classifier, source mean + target mean; "
           "1.386 (2 ln 2) when it guesses. A lower loss means worse alignment", "nats", short="domain"),
    Metric("train/class_confusion", "class confusion", "Losses", NONE, "of `mcc`: how far the predictions on the "
           "target waver between classes; 1 - 1/C when none is certain, 0 when all are and each class is predicted",
           short="class confusion"),
    Metric("train/coral_loss", "coral", "Losses", NONE, "squared distance of the feature covariances of both domains, "
           "over 4 times the squared width", short="coral"),
    Metric("train/discrepancy", "discrepancy", "Losses", NONE, "of `mcd`: mean difference of the probabilities that "
           "its two classifiers give to a class of a target image", short="discrepancy"),
    Metric("train/diversity", "diversity", "Losses", NONE, "of `shot`: entropy of the mean prediction on the target; "
           "ln C when the classes are predicted equally often", "nats", short="diversity"),
    Metric("train/entropy", "entropy", "Losses", NONE, "mean entropy of the predictions on the target; 0 when each is "
           "certain, ln C when none is", "nats", short="entropy"),
    Metric("train/mmd_loss", "mmd", "Losses", NONE, "of `dan`: squared maximum mean discrepancy of the domains' "
           "features; near 0 when they are distributed alike", short="mmd"),
    Metric("train/pseudo_label_loss", "pseudo label", "Losses", NONE, "cross-entropy of target predictions with the "
           "labels that the network itself gives", "nats", short="pseudo label"),
    Metric("train/transport_cost", "transport cost", "Losses", NONE, "of `deepjdot`: mean cost of the pairs of source "
           "and target images; 0 when features and labels of each pair agree", short="transport cost"),
    Metric("train/gradient_penalty", "gradient penalty", "Losses", NONE, "of the domain classifier, without its "
           "weight: the mean squared gradient at its input, relative to the size of the input", short="penalty"),
    Metric("train/source_accuracy", "source, training", "Accuracy", UP, "on labelled training samples, augmented",
           short="source"),
    Metric("train/target_accuracy", "target, training", "Accuracy", UP, "likewise, when training on target labels",
           short="target", labels=True),
    Metric("train/pseudo_label_share", "share of target images", "Pseudo-labels", NONE, "share of the target images "
           "whose prediction is confident enough to be a label", short="pseudo-labels"),
    Metric("domain/accuracy", "accuracy of the domain classifier", "Domains", NONE, "share of the training images "
           "whose domain the method's domain classifier tells; 0.5 when it guesses"),
    Metric("domain/confusion", "confusion", "Domains", UP, "mean binary entropy of the domain predictions over ln 2; 1 "
           "when it guesses", short="confusion"),
    Metric("domain/a_distance", "proxy A-distance", "Domains", DOWN, "2 - 4 times `domain/probe_error`, at least 0: "
           "0 when the domains are indistinguishable, 2 when they are separable"),
    Metric("domain/probe_error", "error of a new probe", "Domain errors", UP, "of a linear classifier that is fitted "
           "at each evaluation to tell the domains apart by validation features; 0.5 when they are indistinguishable"),
    Metric("domain/classifier_error", "error of the domain classifier", "Domain errors", NONE, "of the method's domain "
           "classifier on the same images; far above the probe's when it is behind"),
    Metric("domain/reversed_gradient_norm", "norm", "Reversed gradient at the encoder", NONE, "norm of the reversed "
           "gradient at the encoder; exactly 0 when nothing is adapted"),
    Metric("domain/source_feature_norm", "source", "Norm of the features", NONE, "mean norm of the source's features, "
           "which `afn` lengthens"),
    Metric("domain/target_feature_norm", "target", "Norm of the features", NONE, "likewise of the target"),
    Metric("schedule/lambda", "lambda", "Lambda", NONE, "strength of the reversed gradient"),
    Metric("schedule/lr", "learning rate", "Learning rate", NONE, "learning rate of the new layers"),
    Metric("val/source_accuracy", "source, validation", "Accuracy", UP, "on the source validation split",
           short="val source"),
    Metric("oracle/target_accuracy", "target, validation (oracle)", "Accuracy", UP, "on the target validation split",
           short="oracle target", labels=True),
    Metric("val/source_macro_f1", "source, validation", "Macro-F1", UP, "mean over the classes of F1, the harmonic "
           "mean of precision and recall"),
    Metric("oracle/target_macro_f1", "target, validation (oracle)", "Macro-F1", UP, "likewise on the target",
           labels=True),
    Metric("val/source_recall/*", "*", "Recall, source", UP, "share of each class that was predicted correctly"),
    Metric("oracle/target_recall/*", "*", "Recall, target", UP, "likewise on the target", labels=True),
    Metric("val/target_prediction_share/*", "*", "Target predictions", NONE, "share of the target predicted as each "
           "class; one near 1 is a collapse"),
    Metric("label_shift/target_share/*", "*", "Estimated class shares, target", NONE, "share of each class in the "
           "target, estimated without its labels: maximum likelihood on calibrated predictions (MLLS)"),
    Metric("label_shift/bbse_share/*", "*", "Estimated class shares, target (BBSE)", NONE, "likewise, from the "
           "confusion matrix of the source's validation split (BBSE)"),
    Metric("label_shift/distance", "distance of the class shares", "Label shift", NONE, "total variation distance of "
           "`label_shift/target_share` from the source's shares: the part of the images that would change class"),
    Metric("label_shift/target_error", "estimated error on the target", "Label shift", DOWN, "share of wrong "
           "predictions on the target, estimated without its labels (ATC); it can explain a distance up to its size"),
    Metric("selection/target_accuracy", "target_accuracy", "Model selection", UP, "the only score that needs target "
           "labels; for `train_on_target`", labels=True),
    Metric("selection/infomax", "infomax", "Model selection", UP, "source accuracy + mutual information of the target "
           "predictions over ln C"),
    Metric("selection/entropy", "entropy", "Scores in nats", UP, "minus the mean entropy of the target predictions",
           "nats"),
    Metric("selection/mixval", "mixval", "Model selection", UP, "share of mixed target images predicted as the image "
           "that dominates the mix"),
    Metric("selection/bnm", "bnm", "Model selection", UP, "nuclear norm of the target predictions, over its bound"),
    Metric("selection/class_ami", "class_ami", "Model selection", UP, "adjusted mutual information of predicted "
           "classes and clusters of the target features"),
    Metric("selection/source_accuracy", "source_accuracy", "Model selection", UP, "accuracy on the source"),
    Metric("selection/dev", "dev", "Scores in nats", UP, "minus the source loss, weighted to count as on the target",
           "nats"),
    Metric("selection/snd", "snd", "Scores in nats", UP, "entropy of the similarities of target predictions", "nats"),
    Metric("selection/transfer_score", "transfer_score", "Model selection", UP, "clusters of the target features + "
           "mutual information - unevenness of the classifier's weights"),
    Metric("selection/*", "*", "Model selection", UP, "other scores that choose the checkpoint"),
    Metric("speed/images_per_second", "images a second", "Images a second", UP, "over all ranks", "images/s",
           short="img/s", form=",.0f"),
    Metric("speed/data_wait_fraction", "share of the time", "Waiting for data", DOWN, "share of the time that steps "
           "wait for a batch", short="wait", form=".1%"),
    Metric("speed/step_p50_ms", "median", "Duration of a step", DOWN, "half of the steps are faster", "ms"),
    Metric("speed/step_p95_ms", "95 % of the steps", "Duration of a step", DOWN, "95 % of the steps are faster", "ms"),
    Metric("speed/rank_work_ms", "own work of a rank", "Duration of a step", DOWN, "what the median rank does before "
           "it waits for others: it waits for its batch and runs the first forward pass", "ms"),
    Metric("speed/slowest_rank", "slowest over median", "Slowest rank", DOWN, "own work of the slowest rank over that "
           "of the median rank (of two, the faster); all ranks wait for the slowest"),
    Metric("speed/slowest_rank_number", "slowest rank", "", NONE, "which rank that is"),
    Metric("speed/checkpoint_seconds", "a checkpoint", "Checkpoints", DOWN, "time to write one; training waits", "s"),
    Metric("data/skipped_samples", "skipped samples", "Skipped samples", DOWN, "unreadable images so far, all ranks"),
    Metric("test/source_accuracy", "source, test", "", UP, "the chosen checkpoint on the source test split"),
    Metric("test/source_macro_f1", "macro-F1, source, test", "", UP, "likewise"),
    Metric("oracle/test_target_accuracy", "target, test (oracle)", "", UP, "likewise on the target",
           labels=True),
    Metric("oracle/test_target_macro_f1", "macro-F1, target, test (oracle)", "", UP, "likewise on the target",
           labels=True),
    Metric("oracle/test_target_recall/*", "recall of *, target, test (oracle)", "", UP, "likewise on the target",
           labels=True),
)  # fmt: skip
COMPARED = ("oracle/target_accuracy", "val/source_accuracy", "domain/a_distance", "domain/confusion")  # as mean curves


def is_evaluation(row: Collection[str]) -> bool:
    """Return whether a row of metrics contains those of an evaluation."""
    return any(name.startswith(("val/", "selection/")) for name in row)


def find(name: str) -> Metric:
    """Return the entry of a metric; for an unlisted one, derive it from the name."""
    for metric in METRICS:
        if metric.matches(name):
            return metric
    return _unlisted(name)


def _unlisted(name: str) -> Metric:
    """Derive an entry from the name alone: `train/centroid_loss` becomes `centroid` in the panel Losses."""
    first, _, rest = name.partition("/")
    last = rest.removesuffix("_loss").replace("_", " ").replace("/", ", ") or name
    labels = name.startswith(ORACLE)
    if first == "train" and not rest.endswith("_accuracy"):  # a term of the loss
        return Metric(name, last, "Losses", NONE, "a term of the loss", short=last)
    if first == "train":
        return Metric(name, f"{last.removesuffix(' accuracy')}, training", "Accuracy", UP, "in training", short=last)
    return Metric(name, last, "Domains" if first == "domain" else OTHER, NONE, "", labels=labels)


def title(name: str) -> str:
    """Return the title of a metric for a legend."""
    metric = find(name)
    return metric.title.replace("*", name[len(metric.name) - 1 :]) if metric.name.endswith("*") else metric.title


def in_line(names: Iterable[str]) -> list[str]:
    """Return those of `names` that the progress line shows, in table order; unlisted loss terms follow the losses."""
    order = {metric.name: number for number, metric in enumerate(METRICS)}
    after_losses = order["train/domain_loss"] + 0.5
    shown = [name for name in names if find(name).short]
    return sorted(shown, key=lambda name: (order.get(find(name).name, after_losses), name))


def by_panel(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names of metrics by panel, in the order of PANELS and METRICS. Panels without metrics are omitted."""
    order = {metric.name: number for number, metric in enumerate(METRICS)}
    panels: dict[str, list[str]] = {title: [] for title in (*PANELS, OTHER)}
    for name in sorted(names, key=lambda name: order.get(find(name).name, len(order))):
        if find(name).panel:
            panels[find(name).panel].append(name)
    return {title: members for title, members in panels.items() if members}


def panel_pattern(panel: str) -> str:
    """Return a regular expression for the metrics of a panel; that of Losses matches unlisted loss terms too."""
    patterns = [re.sub(r"\*$", "", metric.pattern()) for metric in METRICS if metric.panel == panel]
    return "|".join([*patterns, *(["^train/(?!.*accuracy)"] if panel == "Losses" else [])])


def markdown_table() -> str:
    """Return the table of docs/monitoring.md. A test compares the two."""
    lines = ["| metric | unit | better | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        name = metric.name.replace("*", "NAME")
        oracle = " **Needs target labels.**" if metric.labels else ""
        lines.append(f"| `{name}` | {metric.unit or '-'} | {metric.better} | {metric.meaning}.{oracle} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
