"""Each alert on the numbers that cause it, and not on those that look alike."""

import math

import pytest

from job.monitor import alerts
from job.monitor.watch import Watch

CANNOT_TELL = 2 * math.log(2)


def titles(rows) -> list[str]:
    """Titles of the alerts on rows; a row may come with the content of its evaluation file."""
    watch = Watch()
    pairs = [row if isinstance(row, tuple) else (row, None) for row in rows]
    return [alert.title for row, evaluation in pairs for alert in watch.look(row, evaluation)]


def domain(loss, norm, lambda_=0.5):
    return {"train/domain_loss": loss, "domain/reversed_gradient_norm": norm, "schedule/lambda": lambda_}


def test_a_dead_domain_classifier():
    assert titles([domain(CANNOT_TELL, 0.0)] * 5) == ["domain classifier dead"]


def test_a_domain_classifier_that_dies_later_is_dead_too():
    assert titles([domain(0.9, 0.1)] * 10 + [domain(CANNOT_TELL, 0.0)] * 5) == ["domain classifier dead"]


@pytest.mark.parametrize(
    "rows",
    [
        [domain(CANNOT_TELL, 0.03)] * 5,  # aligned, and the encoder still hears something
        [domain(0.9, 0.1), *[domain(CANNOT_TELL, 1e-3)] * 5],  # aligned later, and still handing something back
        [domain(CANNOT_TELL, 0.0)] * 2,  # two log steps may be chance
        [domain(CANNOT_TELL, 0.0, lambda_=0.0)] * 5,  # at lambda 0 nothing is handed back
        [domain(0.7, 0.0)] * 5,
    ],
    ids=["gradient", "later", "two", "lambda-0", "loss"],
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
    (alert,) = Watch().look({"train/class_loss": math.nan, "schedule/lr": 0.1})
    assert alert.title == "NaN in the metrics"
    assert "train/class_loss" in alert.text
    assert alert.level == "ERROR"


def test_waiting_for_data():
    row = {"speed/data_wait_fraction": 0.35}
    assert titles([row] * 2) == []  # the first has the start-up in it, and one alone may be a hiccup
    assert titles([row] * 3) == ["training waits for data"]
    assert titles([row, row, {"speed/data_wait_fraction": 0.1}, row]) == []


def test_a_method_without_lambda_or_domain_loss_is_looked_at_by_what_it_logs():
    rows = [{"val/source_accuracy": 0.8 - 0.1 * n} for n in range(5)]
    assert titles(rows) == []
    collapsed = {"val/source_accuracy": 0.9, "val/target_prediction_share/a": 1.0, "val/target_prediction_share/b": 0.0}
    (alert,) = Watch().look(collapsed)
    assert alert.title == "domain collapse"
    assert "lambda" not in alert.text


# Noise: what chance does on so many images is no alert ---------------------------------------------------------------


def counts(source: list[int], predicted: list[int], right: float = 1.0) -> dict:
    """An evaluation file: images of each class in the source, and how often each class is predicted on the target."""
    classes = len(source)
    found = [round(right * of) for of in source]
    confusion = [
        [found[row] if row == column else (source[row] - found[row]) * (column == (row + 1) % classes)
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


def test_three_of_55_images_are_no_fall_of_the_accuracy():
    accuracies = [25 / 55, 22 / 55, 22 / 55]
    assert titles(falling(accuracies, [0.1, 0.3, 0.5], 55)) == []
    assert titles(falling([0.8, 0.4, 0.4], [0.1, 0.3, 0.5], 55)) == ["source accuracy falls while lambda rises"]
    assert titles(falling(accuracies, [0.1, 0.3, 0.5], 5500)) == ["source accuracy falls while lambda rises"]


def test_lambda_that_rises_by_nothing_to_be_seen_has_not_risen():
    """It was written as "while lambda went from 0.30 to 0.30"."""
    assert titles(falling([0.8, 0.4, 0.4], [0.3, 0.3001, 0.3004], 500)) == []
    assert titles(falling([0.8, 0.4, 0.4], [0.48, 0.49, 0.50], 500)) == []


def test_a_collapse_of_a_few_images_is_no_collapse_yet():
    row = evaluation(joy=0.95, fear=0.05, anger=0.0)
    assert titles([(row, counts([7, 7, 6], [19, 1, 0]))]) == []
    (alert,) = Watch().look(row, counts([70, 70, 60], [190, 10, 0]))
    assert alert.title == "domain collapse"
    assert "190 of 200 images" in alert.text


def test_a_class_that_is_nearly_all_of_the_source_may_be_nearly_all_of_the_target():
    row = evaluation(joy=0.95, fear=0.05, anger=0.0)
    assert titles([(row, counts([190, 8, 2], [190, 10, 0]))]) == []


def test_class_shares_that_differ_are_reported_with_the_counts():
    row = evaluation(joy=0.6, fear=0.25, anger=0.15)
    pair = row, counts([30, 35, 35], [60, 25, 15])
    assert titles([pair]) == []  # one evaluation may be a swing
    watch = Watch()
    watch.look(*pair)
    (alert,) = watch.look(*pair)
    assert alert.title == "class shares differ"
    assert "60 of 100 target images (60 %) are taken for joy, and 30 of 100 of the source (30 %) are joy" in alert.text
    assert titles([(row, counts([3, 4, 4], [6, 3, 2]))] * 3) == []  # 27 points of 11 images


def test_a_class_that_the_source_lacks_is_seen_in_the_predictions():
    pair = evaluation(joy=0.5, fear=0.5, anger=0.0), counts([0, 50, 50], [50, 50, 0])
    assert "class shares differ" in titles([pair] * 2)


# A network that dies -------------------------------------------------------------------------------------------------


def training(loss: float, norm: float = 0.1, domain_loss: float = 1.0) -> dict:
    return {"train/class_loss": loss, "schedule/lambda": 0.5} | domain(domain_loss, norm)


def dying() -> list:
    """Learns, and dies at the eleventh log step: class loss ln 3, domain loss 2 ln 2, reversed gradient exactly 0."""
    alive = [training(1.2 - 0.1 * n) for n in range(10)]
    learned = alive[-1] | evaluation(), counts([30, 30, 30], [30, 30, 30])
    return [*alive, learned, *[training(math.log(3), 0.0, CANNOT_TELL)] * 18]


def test_a_dead_encoder_is_one_alert_and_an_error():
    assert titles(dying()) == ["network dead: class loss back at chance"]
    watch = Watch()
    (alert,) = [alert for row in dying() for alert in watch.look(*(row if isinstance(row, tuple) else (row, None)))]
    assert alert.level == "ERROR"
    assert "exactly 0" in alert.text
    assert "checkpoints/best" in alert.text
    assert "class loss ended at 1.099" in watch.at_the_end().text


def test_a_class_loss_that_swings_or_has_not_fallen_yet_is_alive():
    rows = dying()
    swinging = [row for pair in zip(rows[-10:], [training(0.4)] * 10, strict=True) for row in pair]
    assert titles([*rows[:11], *swinging]) == []
    young = [(training(1.1) | evaluation(0.3), counts([30, 30, 30], [30, 30, 30]))] * 8
    assert titles(young) == []


def test_chance_is_known_of_uneven_classes_too():
    """A dead network answers the class shares: its loss is their entropy, which is below ln C."""
    uneven = counts([80, 10, 10], [80, 10, 10])
    entropy = -sum(p * math.log(p) for p in (0.8, 0.1, 0.1))
    rows = [(training(0.2) | evaluation(), uneven), *[training(entropy)] * 3]
    assert titles(rows) == ["network dead: class loss back at chance"]


def test_the_end_of_a_run_that_has_learned_something_needs_no_remark():
    watch = Watch()
    watch.look(training(0.3) | evaluation(), counts([30, 30, 30], [30, 30, 30]))
    assert watch.at_the_end() is None
    assert Watch().at_the_end() is None
    one_class = Watch()
    one_class.look(training(0.0) | evaluation(), counts([30], [30]))
    assert one_class.at_the_end() is None


def test_every_alert_says_what_to_do():
    texts = [
        alerts.resumed(100, 400, 150, "2").text,
        alerts.stopped("SIGTERM", "runs/a/checkpoints/step_00000100").text,
        *(alert.text for alert in Watch().look({"x": math.inf})),
    ]
    assert "goes on from step 100 of 400 (restart 2); steps 101 to 150 are done again" in texts[0]
    assert texts[1].startswith("SIGTERM; runs/a/checkpoints/step_00000100 is saved: the same command, or Slurm")
    assert "lower optimizer.lr" in texts[2]
    assert all("\n" not in text for text in texts)
