import math

import pytest

from job.config.schema import Objective, Optimizer
from job.training.schedules import lambda_at, lr_factor_at


def test_lambda_rises_from_0_to_lambda_max_as_in_the_paper():
    settings = Objective(lambda_max=0.5)
    assert lambda_at(0, 1000, settings) == 0
    assert lambda_at(500, 1000, settings) == pytest.approx(0.5 * (2 / (1 + math.exp(-5)) - 1))
    assert lambda_at(1000, 1000, settings) == pytest.approx(0.5, rel=1e-4)
    values = [lambda_at(step, 1000, settings) for step in range(1001)]
    assert values == sorted(values)


def test_lambda_does_not_depend_on_how_often_it_is_asked_for():
    assert lambda_at(7, 100, Objective()) == lambda_at(7, 100, Objective())


def test_constant_lambda():
    assert lambda_at(0, 10, Objective(lambda_schedule="constant", lambda_max=0.3)) == 0.3


def test_learning_rate_of_the_paper():
    assert lr_factor_at(0, 100, Optimizer()) == 1
    assert lr_factor_at(100, 100, Optimizer()) == pytest.approx(11**-0.75)


def test_cosine_constant_and_warm_up():
    assert lr_factor_at(50, 100, Optimizer(schedule="cosine")) == pytest.approx(0.5)
    assert lr_factor_at(99, 100, Optimizer(schedule="constant")) == 1
    warm = Optimizer(schedule="constant", warmup_steps=10)
    assert [lr_factor_at(step, 100, warm) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1, 1])
