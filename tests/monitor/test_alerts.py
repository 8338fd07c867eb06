"""Each alert is raised by the metrics that cause it, and not by similar ones."""

import math

import pytest

from job.monitor import alerts
from job.monitor.watch import Watch

GUESSING = 2 * math.log(2)


def titles(rows, watch: Watch | None = None) -> list[str]:
    """Return the titles of the alerts of rows; a row may be paired with its evaluation file."""
    watch = watch or Watch()
    pairs = [row if isinstance(row, tuple) else (row, None) for row in rows]
    return [alert.title for row, evaluation in pairs for alert in watch.look(row, evaluation)]


def domain(loss, norm, lambda_=0.5):
    return {"train/domain_loss": loss, "domain/reversed_gradient_norm": norm, "schedule/lambda": lambda_}


def test_a_stop_names_slurm_inside_a_job_alone(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert alerts.stopped("SIGTERM", "latest").text == "SIGTERM; latest is saved: run the same command again to resume"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert alerts.stopped("SIGTERM", "latest").text.endswith("to resume, unless Slurm restarts the job")


def test_dead_domain_classifier():
    assert titles([domain(GUESSING, 0.0)] * 5) == ["domain classifier dead"]


def test_domain_classifier_that_dies_later():
    assert titles([domain(0.9, 0.1)] * 10 + [domain(GUESSING, 0.0)] * 5) == ["domain classifier dead"]


@pytest.mark.parametrize(
    "rows",
    [
        [domain(GUESSING, 0.03)] * 5,  # aligned, and a gradient still reaches the encoder
        [domain(0.9, 0.1), *[domain(GUESSING, 1e-3)] * 5],  # aligned later, with a small gradient
        [domain(GUESSING, 0.0)] * 2,  # two log steps may be chance
        [domain(GUESSING, 0.0, lambda_=0.0)] * 5,  # lambda 0: no gradient is expected
        [domain(0.7, 0.0)] * 5,
    ],
    ids=["gradient", "later", "two", "lambda-0", "loss"],
)
def test_healthy_domain_classifier(rows):
    assert titles(rows) == []


def errors(probe, classifier, lambda_=0.5, samples=None):
    row = {"domain/probe_error": probe, "domain/classifier_error": classifier, "schedule/lambda": lambda_}
    if samples is None:
        return row
    domain = {"samples": samples, "confusion": None, "predicted": [samples, 0]}
    return row, {"class_names": ["joy", "fear"], "source": domain, "target": domain}


def test_domain_classifier_that_is_behind():
    assert titles([errors(0.06, 0.38)] * 3) == ["domain classifier behind"]
    assert titles([errors(0.06, 0.38, samples=1000)] * 5) == ["domain classifier behind"]
    assert (
        titles([*[errors(0.06, 0.38)] * 3, errors(0.3, 0.38), *[errors(0.06, 0.38)] * 3])
        == ["domain classifier behind"] * 2
    )


@pytest.mark.parametrize(
    "rows",
    [
        [errors(0.06, 0.38)] * 2,  # two evaluations may be chance
        [errors(0.30, 0.42)] * 5,  # close behind
        [errors(0.45, 0.50)] * 5,  # nothing is left to find
        [errors(0.06, 0.38, lambda_=0.0)] * 5,  # nobody follows it
        [errors(0.20, 0.38, samples=20)] * 5,  # too few images to know
        [{"domain/probe_error": 0.06, "schedule/lambda": 0.5}] * 5,  # no domain classifier
    ],
    ids=["two", "close", "aligned", "lambda-0", "few-images", "no-classifier"],
)
def test_domain_classifier_that_keeps_up(rows):
    assert titles(rows) == []


def test_errors_on_few_probe_samples_are_not_taken_for_those_of_many():
    """The split has 1,000 images, and evaluation.probe_samples=40 of them are predicted by probe and classifier."""
    rows = [errors(0.20, 0.38, samples=1000)] * 5
    assert titles(rows) == ["domain classifier behind"]
    assert titles(rows, Watch(probe_samples=40)) == []


def evaluation(accuracy=0.8, lambda_=0.5, **shares):
    row = {"val/source_accuracy": accuracy, "schedule/lambda": lambda_}
    return row | {f"val/target_prediction_share/{name}": share for name, share in shares.items()}


def test_collapse_is_reported_at_once_if_the_source_was_learned():
    assert titles([evaluation(joy=0.95, fear=0.05, anger=0.0)]) == ["domain collapse"]


def test_collapse_of_an_untrained_network_needs_two_evaluations():
    untrained = evaluation(0.3, joy=0.95, fear=0.05, anger=0.0)
    assert titles([untrained]) == []
    assert titles([untrained, untrained]) == ["domain collapse"]
    assert titles([untrained, evaluation(joy=0.4, fear=0.3, anger=0.3), untrained]) == []


def test_alert_is_raised_once_and_again_after_its_cause_disappeared():
    bad, good = evaluation(joy=0.95, fear=0.05, anger=0.0), evaluation(joy=0.4, fear=0.3, anger=0.3)
    assert titles([bad, bad, bad, good, bad]) == ["domain collapse"] * 2


def test_source_accuracy_that_falls_while_lambda_rises():
    fall = [evaluation(0.8, 0.1), evaluation(0.7, 0.3), evaluation(0.68, 0.5)]
    assert titles(fall) == ["source accuracy falls while lambda rises"]
    assert titles([evaluation(0.8, 0.5), evaluation(0.7, 0.5), evaluation(0.68, 0.5)]) == []  # constant lambda
    assert titles([evaluation(0.8, 0.1), evaluation(0.7, 0.3), evaluation(0.79, 0.5)]) == []  # accuracy recovered


def test_nan_in_the_metrics_names_the_metric():
    (alert,) = Watch().look({"train/class_loss": math.nan, "schedule/lr": 0.1})
    assert alert.title == "NaN in the metrics"
    assert "train/class_loss" in alert.text
    assert alert.level == "ERROR"


def test_waiting_for_data():
    row = {"speed/data_wait_fraction": 0.35}
    assert titles([row] * 2) == []  # the first includes the start-up, and a single one may be noise
    assert titles([row] * 3) == ["training waits for data"]
    assert titles([row, row, {"speed/data_wait_fraction": 0.1}, row]) == []


def test_method_without_lambda_or_domain_loss():
    rows = [{"val/source_accuracy": 0.8 - 0.1 * n} for n in range(5)]
    assert titles(rows) == []
    collapsed = {"val/source_accuracy": 0.9, "val/target_prediction_share/a": 1.0, "val/target_prediction_share/b": 0.0}
    (alert,) = Watch().look(collapsed)
    assert alert.title == "domain collapse"
    assert "lambda" not in alert.text


# Noise: differences within chance raise no alert ----------------------------------------------------------------------


def counts(source: list[int], predicted: list[int], right: float = 1.0) -> dict:
    """Return an evaluation file from the source images and the target predictions of each class."""
    classes = len(source)
    correct = [round(right * images) for images in source]
    confusion = [
        [correct[row] if row == column else (source[row] - correct[row]) * (column == (row + 1) % classes)
         for column in range(classes)]
        for row in range(classes)
    ]  # fmt: skip
    target = {"samples": sum(predicted), "confusion": None, "predicted": predicted}
    return {
        "class_names": ["joy", "fear", "anger"][:classes],
        "source": {"samples": sum(source), "confusion": confusion, "predicted": source},
        "target": target,
    }


def falling(accuracies: list[float], lambdas: list[float], images: int) -> list:
    evaluation_file = counts([images - 2 * (images // 3), images // 3, images // 3], [images // 3] * 3)
    return [(evaluation(a, lam), evaluation_file) for a, lam in zip(accuracies, lambdas, strict=True)]


def test_three_of_55_images_are_not_a_drop_of_accuracy():
    accuracies = [25 / 55, 22 / 55, 22 / 55]
    assert titles(falling(accuracies, [0.1, 0.3, 0.5], 55)) == []
    assert titles(falling([0.8, 0.4, 0.4], [0.1, 0.3, 0.5], 55)) == ["source accuracy falls while lambda rises"]
    assert titles(falling(accuracies, [0.1, 0.3, 0.5], 5500)) == ["source accuracy falls while lambda rises"]


def test_negligible_rise_of_lambda_does_not_count():
    """Its alert would read "while lambda rose from 0.30 to 0.30"."""
    assert titles(falling([0.8, 0.4, 0.4], [0.3, 0.3001, 0.3004], 500)) == []
    assert titles(falling([0.8, 0.4, 0.4], [0.48, 0.49, 0.50], 500)) == []


def test_collapse_needs_enough_images():
    row = evaluation(joy=0.95, fear=0.05, anger=0.0)
    assert titles([(row, counts([7, 7, 6], [19, 1, 0]))]) == []
    (alert,) = Watch().look(row, counts([70, 70, 60], [190, 10, 0]))
    assert alert.title == "domain collapse"
    assert "190 of 200 images" in alert.text


def test_dominant_class_of_the_source_may_dominate_the_target():
    row = evaluation(joy=0.95, fear=0.05, anger=0.0)
    assert titles([(row, counts([190, 8, 2], [190, 10, 0]))]) == []


def test_different_class_shares_are_reported_with_counts():
    row = evaluation(joy=0.6, fear=0.25, anger=0.15)
    pair = row, counts([30, 35, 35], [60, 25, 15])
    assert titles([pair]) == []  # a single evaluation may be noise
    watch = Watch()
    watch.look(*pair)
    (alert,) = watch.look(*pair)
    assert alert.title == "class shares differ"
    assert (
        "60 of 100 target images (60 %) are predicted as joy, but 30 of 100 source images (30 %) are joy" in alert.text
    )
    assert "try a lower objective.lambda_max or" in alert.text
    watch, without_lambda = Watch(), {key: value for key, value in row.items() if key != "schedule/lambda"}
    watch.look(without_lambda, pair[1])
    assert "try a lower weight of the method's term or" in watch.look(without_lambda, pair[1])[0].text
    assert titles([(row, counts([3, 4, 4], [6, 3, 2]))] * 3) == []  # 27 percentage points on 11 images


def test_predicted_class_without_source_images_is_reported():
    pair = evaluation(joy=0.5, fear=0.5, anger=0.0), counts([0, 50, 50], [50, 50, 0])
    assert "class shares differ" in titles([pair] * 2)


# A network that dies -------------------------------------------------------------------------------------------------


def training(loss: float, norm: float = 0.1, domain_loss: float = 1.0) -> dict:
    return {"train/class_loss": loss, "schedule/lambda": 0.5} | domain(domain_loss, norm)


def dying() -> list:
    """Return rows of a network that dies at log step 11: class loss ln 3, domain loss 2 ln 2, reversed gradient 0."""
    alive = [training(1.2 - 0.1 * n) for n in range(10)]
    learned = alive[-1] | evaluation(), counts([30, 30, 30], [30, 30, 30])
    return [*alive, learned, *[training(math.log(3), 0.0, GUESSING)] * 18]


def test_dead_encoder_raises_one_alert_of_level_error():
    assert titles(dying()) == ["network dead: class loss back at chance"]
    watch = Watch()
    (alert,) = [alert for row in dying() for alert in watch.look(*(row if isinstance(row, tuple) else (row, None)))]
    assert alert.level == "ERROR"
    assert "exactly 0" in alert.text
    assert "checkpoints/best" in alert.text
    assert "class loss ended at 1.099" in watch.at_the_end().text


def test_oscillating_or_initial_class_loss_raises_no_alert():
    rows = dying()
    oscillating = [row for pair in zip(rows[-10:], [training(0.4)] * 10, strict=True) for row in pair]
    assert titles([*rows[:11], *oscillating]) == []
    young = [(training(1.1) | evaluation(0.3), counts([30, 30, 30], [30, 30, 30]))] * 8
    assert titles(young) == []


def test_chance_level_of_uneven_classes():
    """The loss of a dead network is the entropy of the class shares, which is below ln C."""
    uneven = counts([80, 10, 10], [80, 10, 10])
    entropy = -sum(p * math.log(p) for p in (0.8, 0.1, 0.1))
    rows = [(training(0.2) | evaluation(), uneven), *[training(entropy)] * 3]
    assert titles(rows) == ["network dead: class loss back at chance"]


def test_no_final_alert_after_learning():
    watch = Watch()
    watch.look(training(0.3) | evaluation(), counts([30, 30, 30], [30, 30, 30]))
    assert watch.at_the_end() is None
    assert Watch().at_the_end() is None
    one_class = Watch()
    one_class.look(training(0.0) | evaluation(), counts([30], [30]))
    assert one_class.at_the_end() is None


def test_each_alert_contains_a_remedy():
    texts = [
        alerts.resumed(100, 400, 150, {"restarts": "2", "restarts_in_place": "0"}).text,
        alerts.resumed(100, 400, 100, {"restarts_in_place": "3"}).text,
        alerts.stopped("SIGTERM", "runs/a/checkpoints/step_00000100").text,
        *(alert.text for alert in Watch().look({"x": math.inf})),
    ]
    assert "resuming from step 100 of 400 (restart 2); steps 101 to 150 are repeated" in texts[0]
    assert "resuming from step 100 of 400 (restart in place 3). " in texts[1]
    assert texts[2].startswith(
        "SIGTERM; runs/a/checkpoints/step_00000100 is saved: run the same command again to resume"
    )
    assert "lower optimizer.lr" in texts[3]
    assert all("\n" not in text for text in texts)
