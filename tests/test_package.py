"""The package: it installs, its command works in any folder, and its lists of requirements agree."""

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import job
from tests.support.running import REPO

tomllib = pytest.importorskip("tomllib")  # Python 3.11
SOURCES = ("job", "pyproject.toml", "README.md", "LICENSE")
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(path: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in (REPO / path).read_text().splitlines())
    return {line for line in lines if line}


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """bin/ of an environment into which the wheel was installed; it borrows the libraries of this one."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "source").mkdir()
    for name in SOURCES:  # a copy: building leaves files behind
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    own = ["--no-build-isolation"] if int(version("setuptools").split(".")[0]) >= 77 else []
    subprocess.run([*pip, "wheel", "--no-deps", *own, "-w", folder, folder / "source"], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("emotion_dann-*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def run(command: list, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_the_command_works_from_another_folder(installed, tmp_path):
    for start in ([installed / "emotion-dann"], [installed / "python", "-m", "job"]):
        ended = run([*start, "--help"], tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "train" in ended.stdout
        assert run([*start, "--version"], tmp_path).stdout.strip().endswith(job.__version__)
    ended = run([installed / "emotion-dann", "train", "--config", "nothing.yaml"], tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: no configuration at nothing.yaml")
    assert ended.stderr.count("\n") == 1


def test_the_installed_package_is_complete(installed, tmp_path):
    code = "import job; from pathlib import Path; print(Path(job.__file__).parent)"
    package = Path(run([installed / "python", "-c", code], tmp_path).stdout.strip())
    assert package.is_relative_to(installed.parent)
    ignored = ("__pycache__", ".pyc")
    held = {path.relative_to(package) for path in package.rglob("*") if not str(path).endswith(ignored)}
    wanted = {path.relative_to(REPO / "job") for path in (REPO / "job").rglob("*") if not str(path).endswith(ignored)}
    assert Path("py.typed") in wanted
    assert {path for path in wanted if not (REPO / "job" / path).is_dir()} <= held


def test_the_version_is_defined_in_one_place():
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert "\nversion" not in (REPO / "CITATION.cff").read_text()
    assert f"## {job.__version__}\n" in (REPO / "CHANGELOG.md").read_text()


def test_requirements_are_those_of_the_package():
    extras = [requirement for extra in ("export", "parquet", "dev") for requirement in EXTRAS[extra]]
    assert requirements("requirements.txt") == {*PROJECT["dependencies"], *extras}
    for extra in ("dashboard", "demo", "remote-tests"):
        assert requirements(f"requirements-{extra}.txt") == set(EXTRAS[extra])


def test_a_version_of_every_requirement_was_tested():
    tested = {name_of(line) for line in requirements("constraints.txt")}
    assert {name_of(requirement) for requirement in requirements("requirements.txt")} <= tested
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in requirements("constraints.txt"))


def test_the_licence_of_every_requirement_is_in_the_documentation():
    section = (REPO / "docs" / "data.md").read_text().partition("\n## Licences\n")[2].partition("\n## ")[0]
    named = {name_of(word) for word in re.findall(r"[\w.-]+", section.partition("**Packages**")[2])}
    used = [
        *PROJECT["dependencies"],
        *(each for extra, names in EXTRAS.items() if extra not in ("dev", "remote-tests") for each in names),
    ]
    assert {name_of(requirement) for requirement in used} <= named


def test_the_citation_and_the_workflow_are_yaml():
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text())
    assert citation["license"] == PROJECT["license"]
    workflow = yaml.safe_load((REPO / ".github" / "workflows" / "checks.yaml").read_text())
    versions = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert versions == [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if " 3." in line]
    parts = {step["run"].split()[1] for each in workflow["jobs"].values() for step in each["steps"] if "run" in step}
    known = set(re.findall(r"^run_(\w+)\(\)", (REPO / ".ci" / "run").read_text(), re.M))
    assert parts == known
    assert yaml.safe_load((REPO / ".pre-commit-config.yaml").read_text())["repos"]


@pytest.mark.parametrize(
    ("target", "answer", "kept"), [("clean", "", True), ("distclean", "no\n", True), ("distclean", "yes\n", False)]
)
def test_cleaning_deletes_runs_only_after_a_yes(tmp_path, target, answer, kept):
    shutil.copy(REPO / "Makefile", tmp_path)
    for name in ("runs/mine", "shards/faces", ".venv", ".ruff_cache", "job/__pycache__", "tests", "benchmarks"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["make", target], cwd=tmp_path, input=answer, capture_output=True, text=True)
    for name in ("runs/mine", "shards/faces", ".venv"):
        assert (tmp_path / name).exists() is kept
    assert not (tmp_path / ".ruff_cache").exists()
    assert not (tmp_path / "job/__pycache__").exists()
