"""The documentation is correct: links resolve, commands parse, files named exist, results are the measured ones."""

import json
import re
import shlex

import click
import pytest
import torch

from job.__main__ import main
from job.config import objectives, terms
from job.config.load import known_keys, load_config
from job.config.objectives import SETTINGS
from job.methods import METHODS, TERMS, one_term
from job.methods import term as term_module
from tests.support.layers import LAYERS
from tests.support.networks import tiny_batch, tiny_network
from tests.support.pages import PAGES, PICTURES, anchors, command_lines, inline_commands, links
from tests.support.running import REPO

WRITTEN_BY_THE_READER = ("slurm/site.env", "job/methods/minent.py")
LARGEST_PICTURE = 300_000  # bytes
LARGEST_DRAWING = 60_000
OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=\S+")
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))


@by_page
def test_links_resolve(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}: no such heading"


def words_of(line: str, start: str) -> list[str]:
    """The words after `start`, up to what the shell takes: a pipe, a redirection, `;`, `&&`."""
    rest = line.partition(start)[2]
    return shlex.split(re.split(r"\s[|>;&]|;|\)\s", rest)[0], comments=True)


def check_job_command(line: str, whole: bool = True) -> None:
    """Fail where the command or one of its options does not exist or, of a whole line, an argument is missing."""
    words = words_of(line, "-m job")
    if not words or words[0].startswith("-"):
        return
    name, *arguments = words
    command = main.commands.get(name)
    if name == "COMMAND":
        return
    assert command, f"{line}: there is no command {name}"
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    options = [match[1] for match in map(re.compile(r"\[?(--[\w-]*)").match, arguments) if match]
    unknown = [option for option in options if option not in known]
    assert not unknown, f"{line}: {name} has no option {unknown[0]}"
    if whole and not re.search(r"\s\[-|\.\.\.|--help", line):  # a synopsis is no command line
        command.make_context(name, list(arguments))
    if name == "train":
        check_overrides(line)


def check_overrides(line: str) -> None:
    config = re.search(r"configs/[\w/]+\.yaml", line)
    words = [word for word in shlex.split(line.partition(config[0])[2]) if OVERRIDE.fullmatch(word)] if config else []
    words = [re.sub(r"%a|\$\{?\w+\}?", "1", word) for word in words]
    words = [word.replace("objective.name=minent", "objective.name=mcc") for word in words]  # the reader's method
    if config:
        load_config(REPO / config[0], words)


@by_page
def test_command_lines_parse(page):
    for line in command_lines(page):
        try:
            if "-m job " in f"{line} ":
                check_job_command(line)
            elif re.search(r"launch/local\.sh|slurm/(train|compare)\.sbatch", line):
                check_overrides(line)
        except (click.ClickException, ValueError) as error:
            raise AssertionError(f"{page.name}: {line}: {error}") from error
    for line in inline_commands(page):
        check_job_command(line, whole=False)


@by_page
def test_files_named_exist(page):
    text = page.read_text()
    folders = "job|launch|slurm|configs|benchmarks|tests|docs"
    for path in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*\w\.(?:py|sh|sbatch|yaml|md|json|env))\b", text):
        if path not in WRITTEN_BY_THE_READER and "NAME" not in path:
            assert (REPO / path).exists(), f"{page.name} names {path}"
    for module in re.findall(r"python -m ((?:job|benchmarks)\.[\w.]*\w)", text):
        assert (REPO / f"{module.replace('.', '/')}.py").exists(), f"{page.name} names the module {module}"


@by_page
def test_tests_named_exist(page):
    for path, name in re.findall(r"\b(tests/[\w/]+\.py)::(\w+)", page.read_text()):
        assert f"def {name}(" in (REPO / path).read_text(), f"{page.name} names {path}::{name}"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small_and_shown(path):
    assert path.stat().st_size < (LARGEST_DRAWING if path.suffix == ".svg" else LARGEST_PICTURE)
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page) if ":" not in link}
    assert path in shown, f"no page shows {path.name}"


def test_the_index_lists_every_page():
    listed = {(REPO / "docs" / link).resolve() for link in links(REPO / "docs" / "README.md")}
    pages = {path for path in PAGES if path.parent != REPO and path.name != "README.md"}
    assert pages <= listed, f"docs/README.md lacks {sorted(str(path.name) for path in pages - listed)}"


def test_the_results_in_the_readme_are_the_measured_ones():
    text = (REPO / "README.md").read_text()
    rows = re.findall(r"^\|.*`configs/(\w+)\.yaml`\) \| (.+) \|$", text, re.M)
    assert len(rows) >= 4
    for name, cells in rows:
        measured = json.loads((REPO / f"benchmarks/results/adaptation_{name}.json").read_text())["result"]["objectives"]
        means = {objective: scores["target"] for objective, scores in measured.items()}
        (adapted,) = measured.keys() - {"source_only", "train_on_target"}
        wanted = [
            f"{means[o]['mean']:.3f}&nbsp;±&nbsp;{means[o]['std']:.3f}"
            for o in ("source_only", adapted, "train_on_target")
        ]
        assert cells.split(" | ") == [*wanted, f"{100 * measured[adapted]['gap_closed']:.0f} %"], name


def test_every_method_has_a_row_and_a_section():
    text = (REPO / "docs" / "methods.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text.partition("\n## ")[0], re.M) == re.findall(r"^## (\w+)$", text, re.M)
    assert set(re.findall(r"^## (\w+)$", text, re.M)) == set(METHODS)


def test_the_settings_in_the_page_of_methods_exist():
    text = (REPO / "docs" / "methods.md").read_text()
    for name, section in re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", text, re.M | re.S):
        for cell in re.findall(r"^\| (`.+?) \|", section, re.M):
            for key in re.findall(r"`([\w.]+)`", cell):
                known = set(known_keys()) if "." in key else set(SETTINGS[name].model_fields)
                assert key in known, f"methods.md, {name}: {key}"


def test_the_example_of_a_new_method_computes_a_loss(monkeypatch):
    """The settings and the method of docs/development.md, as they stand there."""
    page = (REPO / "docs" / "development.md").read_text()
    settings, method, _ = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    defined = dict(vars(objectives))
    exec(settings, defined)
    monkeypatch.setattr(objectives, "MinEntSettings", defined["MinEntSettings"], raising=False)
    module: dict = {}
    exec(method, module)
    built = module["MinEnt"](tiny_network(), defined["MinEntSettings"]()).double()
    losses = built(tiny_batch(built), torch.tensor(0.5))
    losses.total.backward()
    assert set(losses.terms) == {"train/class_loss", "train/entropy"}
    assert all(parameter.grad.abs().sum() > 0 for parameter in built.parameters())
    assert "train/source_accuracy" in built.measure({name: rows[None] for name, rows in losses.seen.items()})


def test_the_example_of_a_new_term_computes_the_loss_of_the_method(monkeypatch):
    page = (REPO / "docs" / "development.md").read_text()
    settings, method, term = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    from_files: dict = {}
    for module in (objectives, terms, one_term, term_module):
        from_files |= vars(module)
    defined = dict(from_files)
    exec(settings, defined)
    monkeypatch.setattr(objectives, "MinEntSettings", defined["MinEntSettings"], raising=False)
    exec(method, defined)
    losses = {}
    for form in ("method", "term"):
        if form == "term":
            exec(term, defined)
        given = {"weight": 0.1, "rises": False} if form == "term" else {"entropy_weight": 0.1}
        torch.manual_seed(0)
        built = defined["MinEnt"](tiny_network(), defined["MinEntSettings"](**given)).double()
        losses[form] = built(tiny_batch(built), torch.tensor(0.5))
    assert losses["term"].terms.keys() == losses["method"].terms.keys()
    torch.testing.assert_close(losses["term"].total, losses["method"].total)


def test_every_term_has_a_row():
    page = (REPO / "docs" / "methods.md").read_text()
    section = page.partition("## Combining losses")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == set(TERMS)


def test_the_speeds_in_the_readme_are_the_measured_ones():
    text = " ".join((REPO / "README.md").read_text().split())
    loader, resume = (
        json.loads((REPO / f"benchmarks/results/{n}.json").read_text())["result"] for n in ("loader", "resume")
    )
    speed = round(loader["images_per_core_second"]["ours"], -2)
    assert f"{speed:,} images/s per core" in text
    assert f"{100 * loader['of_decoder']:.0f} % of the bare JPEG decoder" in text
    assert f"{loader['times_webdataset']:.0f} times the usual webdataset pipeline" in text
    said = re.search(r"run with ([\d,]+) shards per domain is ready within ([\d.]+) s", text)
    assert int(said[1].replace(",", "")) == resume["shards_per_domain"]
    assert 0 <= float(said[2]) - resume["slowest"] < 0.1


def test_the_drawing_of_the_architecture_has_the_layers_of_the_code():
    drawing = re.search(r"^```\n( __main__\n.*?)^```", (REPO / "docs" / "development.md").read_text(), re.M | re.S)[1]
    drawn = [set(re.split(r" {5,}", line.strip())[0].split()) for line in drawing.splitlines()]
    assert drawn == [set(names) for names in reversed(LAYERS)]
