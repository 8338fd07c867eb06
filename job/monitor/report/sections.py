"""Sections of the report below the curves: classes, features, images, choice of the checkpoint, test split."""

from html import escape

import numpy as np

from job.evaluation.agreement import agreement, label_free_scores
from job.evaluation.doubts import ADVICE, adapts, listed, within_run
from job.evaluation.metrics import UNMEASURED
from job.metric_names import TEST_TARGET
from job.monitor.figures.paths import figure_path
from job.monitor.label_shift import classes_apart
from job.monitor.report.curves import charts
from job.monitor.report.parts import card, cards, image, number_table, table
from job.run_folder.profile_files import FOLDER, TRACE, read_summary
from job.run_folder.run_view import ROLES, RunView

SHAPES = ("circles", "triangles")  # of the roles in a feature map


def classes(run: RunView) -> str:
    """Return confusion, recall and class shares of the last evaluation and over the run."""
    if not run.evaluations:
        return ""
    last = run.evaluations[-1]
    step = f"validation, step {last['step']:,}"
    return cards(
        "Classes",
        _figure(run, "Confusion, source", "figures/confusion_source", step),
        _figure(run, "Confusion, target", "oracle/confusion_target", _labelled(last["target"], step), oracle=True)
        or card("Confusion, target", f"<p>{UNMEASURED}</p>"),
        *charts(run, per_class=True),
        _figure(
            run,
            "Predicted classes of the target",
            "figures/target_classes",
            "; ".join(classes_apart(last)) or f"{step}; needs no target labels",
        ),
        _figure(run, "Confidence", "figures/confidence", f"{step}; needs no target labels"),
    )


def features(run: RunView) -> str:
    """Return the feature maps by domain and by class, and the predictions of the domain classifier."""
    counts = [len(run.sample.get(f"{role}_features", ())) for role in ROLES]
    method = {"pca": "principal components", "tsne": "t-SNE"}[run.config["evaluation"]["feature_map"]]
    parts = [f"{count} {role} ({shape})" for count, role, shape in zip(counts, ROLES, SHAPES, strict=True) if count]
    about = f"{method} of {' and '.join(parts)} images"
    return cards(
        "Features",
        _figure(run, "By domain", "figures/features_by_domain", about),
        _figure(run, "By class", "figures/features_by_emotion", f"{about}; source: true, target: predicted"),
        _figure(run, "By class, true", "oracle/features_by_emotion", about, oracle=True),
        _figure(run, "Domain predictions", "figures/domain_predictions"),
    )


def faces(run: RunView) -> str:
    """Return sample images with predictions and the most confident mistakes, each with a collapsed list of keys."""
    return cards(
        "Images",
        _faces(run, "Target, with prediction and confidence", "figures/target_faces", "target_faces"),
        _faces(run, "Source: most confident mistakes", "figures/mistakes_source", "source_mistakes"),
        _faces(run, "Target: most confident mistakes", "oracle/mistakes_target", "target_mistakes", oracle=True),
    )


def selection(run: RunView) -> str:
    """Return the checkpoint that each label-free score would choose, and whether the scores agree."""
    choices = agreement(label_free_scores(run.rows, run.evaluations), run.score)
    if not run.evaluations or not choices:
        return ""
    oracle = dict(zip(*run.series("oracle/target_accuracy"), strict=True))
    heads = ["score", "would choose", "value there", f"rank correlation with {run.score}"]
    rows = []
    for row in choices:
        correlation = "-" if row.correlation is None else f"{row.correlation:+.2f}"
        rows.append([row.score, f"step {row.step:,}", f"{row.value:.4f}", correlation])
        if oracle:
            rows[-1].append(f"{oracle[row.step]:.4f}" if row.step in oracle else "-")
    if oracle:
        heads.append("target accuracy there (oracle)")
    steps = sorted({row.step for row in choices})
    verdict = "The scores agree on the checkpoint." if len(steps) == 1 else (
        f"The scores disagree: they would choose {len(steps)} different checkpoints."
    )  # fmt: skip
    evaluations = f"{len(run.evaluations)} evaluations"
    if len(run.evaluations) == 1:
        verdict, evaluations = "There was one evaluation, so no checkpoint to choose.", "1 evaluation"
    note = f"{evaluations}; rank correlation 1: the same ranking, 0: unrelated. The scores need no target labels"
    return cards("Choice of the checkpoint", card(verdict, _doubts(run) + table(heads, rows), note, wide=True))


def _doubts(run: RunView) -> str:
    """Return a paragraph on the scores that vote against the chosen checkpoint, or ""."""
    step, doubts = within_run(run.rows, run.score) if adapts(str(run.config["objective"].get("name", ""))) else (0, [])
    if not doubts:
        return ""
    return f"<p>{escape(f'Adaptation may have hurt: at step {step:,}, {listed(doubts)}; {ADVICE}.')}</p>"


def test_split(run: RunView) -> str:
    """Return the results of the chosen checkpoint on the test split."""
    if run.test is None:
        return ""
    keys = [key for key in run.summary if key.startswith(("test/", "oracle/test_target", "selection/chosen"))]
    values = {key: run.summary[key] for key in keys}
    if TEST_TARGET not in values:
        values["accuracy on the target"] = UNMEASURED
        predicted = zip(run.test["class_names"], run.test["target"]["predicted"], strict=True)
        total = max(sum(run.test["target"]["predicted"]), 1)
        values |= {f"target predicted as {name}": f"{count} of {total}" for name, count in predicted}
    return cards(
        "Test split, the chosen checkpoint",
        card("Result", number_table(values), _labelled(run.test["target"], ""), wide=True),
        _figure(run, "Confusion, source", "figures/test_confusion_source"),
        _figure(run, "Confusion, target", "oracle/test_confusion_target", oracle=True),
    )


def profile(run: RunView) -> str:
    """Return the summary of a profile (train.profile_steps), with a link to its trace."""
    text = read_summary(run.folder)
    if not text:
        return ""
    link = f'<p><a href="{FOLDER}/{TRACE}">{FOLDER}/{TRACE}</a>: all operations, for ui.perfetto.dev</p>'
    return cards("Profile", card("Where the time goes", f"<pre>{escape(text)}</pre>{link}", wide=True))


def _figure(run: RunView, title: str, name: str, note: str = "", oracle: bool = False) -> str:
    return card(title, image(figure_path(run.folder, name)), note, oracle=oracle)


def _faces(run: RunView, title: str, name: str, which: str, oracle: bool = False) -> str:
    content = image(figure_path(run.folder, name), photo=True)
    keys = [str(key) for key in run.sample.get(f"{which}_keys", ())]
    rows = [[str(number), key] for number, key in enumerate(keys, 1)]
    if content and rows:
        content += f"<details><summary>keys, row by row</summary>{table(['image', 'key'], rows)}</details>"
    return card(title, content, oracle=oracle, wide=True)


def _labelled(domain: dict, note: str) -> str:
    """Append the number of labelled images to `note` if some images have no label."""
    labelled = 0 if domain["confusion"] is None else int(np.sum(domain["confusion"]))
    total = sum(domain["predicted"])
    if labelled in (0, total):
        return note
    return "; ".join(filter(None, [note, f"{labelled} of {total} target images have a label"]))
