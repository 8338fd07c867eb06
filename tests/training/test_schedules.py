import pytest

from job.config.schema import Optimizer
from job.training.schedules import lr_factor_at


def test_learning_rate_of_the_paper():
    assert lr_factor_at(0, 100, Optimizer()) == 1
    assert lr_factor_at(100, 100, Optimizer()) == pytest.approx(11**-0.75)


def test_cosine_constant_and_warm_up():
    assert lr_factor_at(50, 100, Optimizer(schedule="cosine")) == pytest.approx(0.5)
    assert lr_factor_at(99, 100, Optimizer(schedule="constant")) == 1
    warm = Optimizer(schedule="constant", warmup_steps=10)
    assert [lr_factor_at(step, 100, warm) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1, 1])
