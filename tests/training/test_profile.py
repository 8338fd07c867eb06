"""train.profile_steps: a trace and a page that says where the time of some steps goes."""

import gzip
import json
from types import SimpleNamespace

import pytest

from job.config.load import build_config
from job.monitor.report import sections
from job.system.errors import JobError
from job.train import train
from job.training.profile import Operation, class_of, summary
from tests.support.running import assert_same_weights, weights


@pytest.mark.slow
def test_a_profile_of_some_steps_changes_no_weight(small):
    settings = {"train": {"steps": 3, "log_every": 3, "eval_every": 3}, "objective": {"name": "source_only"}}
    plain, profiled = small(name="plain", **settings), small(name="profiled", **settings)
    profiled = profiled.model_copy(update={"train": profiled.train.model_copy(update={"profile_steps": (2, 3)})})
    assert profiled.fingerprint() == plain.fingerprint()
    for config in (plain, profiled):
        assert train(config) == 0
    assert_same_weights(weights(plain), weights(profiled))
    folder = profiled.run_folder / "profile"
    page = (folder / "summary.md").read_text()
    assert page.startswith("# Profile of the steps 2 to 3\n")
    assert "| convolutions | " in page
    with gzip.open(folder / "trace.json.gz") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert "aten::convolution" in names or "aten::conv2d" in names
    section = sections.profile(SimpleNamespace(folder=profiled.run_folder))
    assert 'href="profile/trace.json.gz"' in section
    assert "# Profile of the steps 2 to 3" in section
    assert sections.profile(SimpleNamespace(folder=plain.run_folder)) == ""
    assert not (plain.run_folder / "profile").exists()


def test_the_page_has_data_communication_classes_and_the_ten_slowest():
    found = [Operation("ncclDevKernel_AllReduce", 10, 0.2), Operation("sm90_xmma_gemm_bf16", 20, 0.1)]
    found += [Operation(f"my_kernel_{i}", 1, 0.001) for i in range(20)]
    page = summary(found, 100, 109, seconds=1.0, waited=0.05)
    assert "| waiting for data | 5.000 | 5.0 % |" in page
    assert "| communication, which may overlap | 20.000 | 20.0 % |" in page
    assert "| matrix products | 10.000 | 31.2 % |" in page
    assert "| `ncclDevKernel_AllReduce` | communication | 1.0 | 20.000 | 62.5 % |" in page
    assert page.count("`my_kernel_") == 8


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("void cudnn::winograd_nonfused::winogradForwardData4x4", "convolutions"),
        ("ampere_sgemm_128x64_nn", "matrix products"),
        ("gloo:all_reduce", "communication"),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("aten::native_batch_norm", "normalisation"),
        ("at::native::vectorized_elementwise_kernel", "elementwise"),
        ("multi_tensor_apply_kernel", "optimiser"),
        ("an operation of somebody's own", "other"),
    ],
)
def test_operations_are_classed_by_their_names(name, kind):
    assert class_of(name) == kind


@pytest.mark.parametrize("steps", [[20, 10], [0, 3], [1, 100_000], [5]])
def test_steps_that_make_no_profile_are_refused(steps):
    with pytest.raises(JobError, match=r"train\.profile_steps"):
        build_config({"train": {"profile_steps": steps}}, "test")
