"""model.compile: what is compiled, with which mode; the compiled forward pass of every method is the eager one.

Tracing is tested with torch's backend `eager`, which generates no code: tests/test_train.py compiles for real.
"""

import pytest
import torch

from job.methods.losses import Losses
from job.models.build import build_network
from job.training import compilation, learner
from job.training.compilation import compile_method, copied, uses_cuda_graphs
from tests.support.networks import tiny_batch, tiny_config, tiny_method
from tests.support.steps import learner_for, loaded

WHOLE = {"compile": True, "compile_scope": "method"}


@pytest.fixture(autouse=True)
def without_code(monkeypatch):
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    yield
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dann", "mcd", "fixmatch", "shot"])  # views, phases, a teacher, gathered rows
def test_two_updates_of_a_compiled_method_are_the_eager_ones(name):
    """With and without the hook that measures the reversed gradient at log steps, in every phase."""
    eager, compiled = tiny_method(name), tiny_method(name)
    batch = tiny_batch(eager)
    config = tiny_config(name, model=WHOLE)
    compile_method(compiled, config)
    assert compiled._compiled_call_impl is not None
    for method in (eager, compiled):
        made = learner_for(method)
        for step, logs in ((0, False), (1, True)):
            made.update(loaded(batch, method, step), logs=logs)
        method.measured = made.metrics(1, 0)
    assert eager.measured == pytest.approx(compiled.measured, rel=1e-6)
    for key, value in eager.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], value, rtol=1e-9, atol=1e-9, msg=key)


def test_an_iresnet_is_traced_as_one_graph():
    """A break would compile its parts alone, and evaluations would compile again."""
    config = tiny_config("source_only", model={"backbone": "iresnet18"})
    network = build_network(config.model, 32, 3).eval()
    images = torch.randn(2, 3, 32, 32)
    traced = torch.compile(network.feature_extractor, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(images), network.feature_extractor(images))


def test_the_mode_is_passed_on_and_names_of_weights_stay(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **settings: calls.append((type(self), settings)))
    method = tiny_method("dann")
    names = list(method.state_dict())
    compile_method(method, tiny_config("dann"))
    assert calls == []
    compile_method(method, tiny_config("dann", model={"compile": True}))
    assert calls == [(torch.nn.Sequential, {"backend": "eager"})]
    compile_method(method, tiny_config("dann", model=WHOLE | {"compile_mode": "reduce-overhead"}))
    assert [kind for kind, _ in calls[1:]] == [torch.nn.Sequential, type(method)]
    assert calls[2][1] == {"backend": "eager", "mode": "reduce-overhead"}
    assert list(method.state_dict()) == names


def test_what_the_meter_keeps_is_copied_with_cuda_graphs(monkeypatch):
    """A replay overwrites the outputs of the one before, which the meter reads only at log steps."""
    config = tiny_config("dann", model={"compile": True, "compile_mode": "reduce-overhead"})
    assert uses_cuda_graphs(config, torch.device("cuda"))
    assert not uses_cuda_graphs(config, torch.device("cpu"))
    assert not uses_cuda_graphs(tiny_config("dann", model={"compile": True}), torch.device("cuda"))
    output = torch.ones(3)
    kept = copied(Losses(output[0], {"a": output[1]}, {"b": output}))
    output.zero_()
    assert (kept.total.item(), kept.terms["a"].item(), kept.seen["b"].sum().item()) == (1, 1, 3)
    passes = []
    monkeypatch.setattr(learner, "uses_cuda_graphs", lambda *_: True)
    monkeypatch.setattr(learner, "start_pass", lambda: passes.append(1))
    method = tiny_method("mcd")
    learner_for(method).update(loaded(tiny_batch(method), method, 0))
    assert len(passes) == len(method.phases)


def test_only_the_keys_of_a_compiled_run_are_in_the_fingerprint():
    plain = tiny_config("dann")
    new = ("model.compile_scope", "model.compile_mode", "optimizer.fused", "train.tf32", "train.bind_cpus")
    for key in new:
        section, _, name = key.partition(".")
        assert name not in plain.decisive()[section], key
    assert plain.fingerprint() != tiny_config("dann", train={"steps": 10, "tf32": False}).fingerprint()
    assert plain.fingerprint() == tiny_config("dann", train={"steps": 10, "bind_cpus": False}).fingerprint()
