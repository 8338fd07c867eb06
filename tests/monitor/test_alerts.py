"""Each alert on the numbers that cause it, and not on those that look alike."""

import math

import pytest

from job.monitor import alerts
from job.monitor.alerts import Watch

CANNOT_TELL = 2 * math.log(2)


def titles(rows, adversarial=True) -> list[str]:
    watch = Watch(adversarial)
    return [alert.title for row in rows for alert in watch.look(row)]


def domain(loss, norm, lambda_=0.5):
    return {"train/domain_loss": loss, "domain/reversed_gradient_norm": norm, "schedule/lambda": lambda_}


def test_a_dead_domain_classifier():
    assert titles([domain(CANNOT_TELL, 0.0)] * 5) == ["domain classifier dead"]


@pytest.mark.parametrize(
    "rows",
    [
        [domain(CANNOT_TELL, 0.03)] * 5,  # aligned, and the encoder still hears something
        [domain(0.9, 0.1), *[domain(CANNOT_TELL, 0.0)] * 5],  # it was alive once
        [domain(CANNOT_TELL, 0.0, lambda_=0.0)] * 5,  # at lambda 0 nothing is handed back
        [domain(0.7, 0.0)] * 5,
    ],
    ids=["gradient", "later", "lambda-0", "loss"],
)
def test_a_living_domain_classifier(rows):
    assert titles(rows) == []


def evaluation(accuracy=0.8, lambda_=0.5, **shares):
    row = {"val/source_accuracy": accuracy, "schedule/lambda": lambda_}
    return row | {f"val/target_prediction_share/{name}": share for name, share in shares.items()}


def test_a_collapse_is_told_at_once_when_the_source_was_learnt():
    assert titles([evaluation(joy=0.95, fear=0.05, anger=0.0)]) == ["domain collapse"]


def test_an_untrained_network_is_given_a_second_evaluation():
    untrained = evaluation(0.3, joy=0.95, fear=0.05, anger=0.0)
    assert titles([untrained]) == []
    assert titles([untrained, untrained]) == ["domain collapse"]
    assert titles([untrained, evaluation(joy=0.4, fear=0.3, anger=0.3), untrained]) == []


def test_an_alert_comes_once_and_again_after_its_cause_had_gone():
    bad, good = evaluation(joy=0.95, fear=0.05, anger=0.0), evaluation(joy=0.4, fear=0.3, anger=0.3)
    assert titles([bad, bad, bad, good, bad]) == ["domain collapse"] * 2


def test_source_accuracy_that_falls_while_lambda_rises():
    fall = [evaluation(0.8, 0.1), evaluation(0.7, 0.3), evaluation(0.68, 0.5)]
    assert titles(fall) == ["source accuracy falls while lambda rises"]
    assert titles([evaluation(0.8, 0.5), evaluation(0.7, 0.5), evaluation(0.68, 0.5)]) == []  # lambda stands still
    assert titles([evaluation(0.8, 0.1), evaluation(0.7, 0.3), evaluation(0.79, 0.5)]) == []  # it came back


def test_nan_in_the_metrics_names_the_metric():
    (alert,) = Watch(True).look({"train/class_loss": math.nan, "schedule/lr": 0.1})
    assert alert.title == "NaN in the metrics"
    assert "train/class_loss" in alert.text
    assert alert.level == "ERROR"


def test_waiting_for_data():
    row = {"speed/data_wait_fraction": 0.35}
    assert titles([row] * 2) == []  # the first has the start-up in it, and one alone may be a hiccup
    assert titles([row] * 3) == ["training waits for data"]
    assert titles([row, row, {"speed/data_wait_fraction": 0.1}, row]) == []


def test_without_an_adversary_nothing_is_said_of_domains():
    rows = [domain(CANNOT_TELL, 0.0) | evaluation(0.8 - 0.1 * n, 0.1 * n, joy=1.0, fear=0.0, anger=0) for n in range(5)]
    assert titles(rows, adversarial=False) == []


def test_every_alert_says_what_to_do():
    texts = [
        alerts.resumed(100, 400, 150, "2").text,
        alerts.stopped("SIGTERM", "runs/a/checkpoints/step_00000100").text,
        *(alert.text for alert in Watch(True).look({"x": math.inf})),
    ]
    assert "goes on from step 100 of 400 (restart 2); steps 101 to 150 are done again" in texts[0]
    assert texts[1].startswith("SIGTERM; runs/a/checkpoints/step_00000100 is saved: the same command, or Slurm")
    assert "lower optimizer.lr" in texts[2]
    assert all("\n" not in text for text in texts)
