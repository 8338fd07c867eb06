"""Values in files and overrides: YAML 1.2, without guesses, and without input that crashes a library."""

import subprocess
import sys
import time

import pytest

from job.config.load import annotation_of, load_config
from job.config.schema import Config
from job.system.errors import JobError
from tests.support.running import REPO


def value_of(tmp_path, key: str, text: str, way: str):
    """Return the value of a dotted key, from a file or an override."""
    path = tmp_path / "mine.yaml"
    *sections, leaf = key.split(".")
    lines = "".join("  " * depth + f"{name}:\n" for depth, name in enumerate(sections))
    path.write_text("{}\n" if way == "override" else f"{lines}{'  ' * len(sections)}{leaf}: {text}\n")
    value = load_config(path, [f"{key}={text}"] if way == "override" else [])
    for name in key.split("."):
        value = getattr(value, name)
    return value


both = pytest.mark.parametrize("way", ["file", "override"])


@both
@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("train.steps", "010", 10),
        ("train.steps", "1_000", 1000),
        ("train.steps", "1e3", 1000),
        ("train.steps", "0x10", 16),
        ("optimizer.lr", "1e-3", 0.001),
        ("optimizer.lr", "1", 1.0),
        ("name", "007", "007"),
        ("name", "1e5", "1e5"),
        ("name", "1.50", "1.50"),
        ("name", "2024-01-31", "2024-01-31"),
        ("name", "2024-13-45", "2024-13-45"),
        ("name", "12:30:00", "12:30:00"),
        ("name", "no", "no"),
        ("data.source", "0", "0"),
        ("data.shards", "2024-01-31", "2024-01-31"),
        ("wandb.tags", "[1, 2.50, yes]", ("1", "2.50", "yes")),
        ("wandb.notes", "null", None),
        ("data.augment.flip", "yes", True),
        ("data.augment.flip", "off", False),
        ("train.precision", "no", "no"),
        ("train.precision", "false", "no"),
        ("model.weights", "no", "none"),
    ],
)
def test_values_follow_yaml_1_2(tmp_path, key, text, value, way):
    found = value_of(tmp_path, key, text, way)
    assert found == value
    assert type(found) is type(value)


@both
@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("train.steps", "yes", "valid integer"),
        ("train.steps", "true", "is true or false, and a number is expected"),
        ("train.steps", "1:30", "valid integer"),
        ("train.steps", ".inf", "finite number"),
        ("train.steps", "2024-01-31", "valid integer"),
        ("train.steps", "10.5", "valid integer"),
        ("optimizer.lr", "on", "valid number"),
        ("optimizer.lr", "True", "is true or false, and a number is expected"),
        ("optimizer.lr", ".nan", "finite number"),
        ("optimizer.lr", "1e300", "less than or equal to 1000"),
        ("optimizer.betas", "[true, 0.9]", "is true or false, and a number is expected"),
        ("model.bottleneck", "true", "is true or false, and a number is expected"),
        ("name", "true", "put it into quotes, 'true'"),
        ("train.steps", "1" + "0" * 18, "less than or equal to 1000000000"),
        ("data.global_batch_size", "1" + "0" * 18, "less than or equal to 1000000"),
        ("evaluation.batch_size", "1" + "0" * 18, "less than or equal to 1000000"),
        ("data.decoded_gib", "1e300", "less than or equal to"),
        ("train.timeout_seconds", "1" + "0" * 18, "less than or equal to"),
        ("train.steps", "9" * 5000, "a number of 5,000 characters"),
        ("optimizer.lr", "0." + "1" * 5000, "a number of 5,002 characters"),
        ("train.steps", "!!int abc", "'abc' is not a valid int"),
        ("train.steps", "!!timestamp 2024-13-45", "could not determine a constructor"),
        ("name", r'"a\0b"', "contains a character that is not allowed"),
        ("name", r'"a\e[2Jb"', "contains a character that is not allowed"),
        ("name", "\u202egpj.exe", "contains a character that is not allowed"),
        ("wandb.tags", r'[a, "\e]0;x\a"]', "contains a character that is not allowed"),
        ("name", "é" * 150, "too long for a folder name"),
        ("data.shards", "x/" * 2500, "5,000 characters long"),
        ("output", "x" * 5000, "5,000 characters long"),
    ],
)
def test_a_wrong_value_is_refused_in_one_short_line(tmp_path, key, text, says, way):
    with pytest.raises(JobError) as error:
        value_of(tmp_path, key, text, way)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 700


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 20)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 100_000, "levels deep"),
        ("{a: " * 100_000, "levels deep"),
        ("- " * 100_000, "levels deep"),
        (bomb(), "more than 10,000 values"),
        ("a: &a [*a]\n", "an alias inside its own anchor"),
        ("a: &a {<<: *a}\n", "an alias inside its own anchor"),
        ("x: " + "y" * 2_000_000, "more than 1,000,000 characters"),
        ("name: \0\n", "special characters"),
        ("1: 2\n", "unknown key 1"),
        ("? [a]\n: b\n", "expected a name, not a list"),
        ("!!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ('"\\e[2J": 1\n', r"unknown key \x1b[2J"),
    ],
)
def test_a_hostile_file_is_refused_at_once(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(JobError) as error:
        load_config(path)
    assert says in str(error.value)
    assert len(str(error.value)) < 700
    assert time.process_time() - began < 60  # some would take for ever


def test_an_endless_file_and_a_long_name_are_refused(tmp_path):
    with pytest.raises(JobError, match="more than 1,000,000 characters"):
        load_config("/dev/zero")
    with pytest.raises(JobError, match="File name too long") as error:
        load_config(tmp_path / ("x" * 5000))
    assert len(str(error.value)) < 700


def test_keys_of_thousands_of_letters_or_levels_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("{}\n")
    for override in ("k" * 5000 + "=1", "a." * 2000 + "b=1"):
        with pytest.raises(JobError, match="unknown key") as error:
            load_config(tmp_path / "mine.yaml", [override])
        assert len(str(error.value)) < 700


def test_annotation_of_a_dotted_key():
    assert annotation_of(Config, "name") is str
    assert annotation_of(Config, "data.augment.flip") is bool
    assert annotation_of(Config, "data.nothing.at.all") is None


def test_the_command_line_reports_one_line_and_exits_with_2(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {steps: " + "9" * 5000 + "}\n")
    command = [sys.executable, "-m", "job", "train", "--check", "--config", str(tmp_path / "mine.yaml")]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "a number of 5,000 characters" in ended.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("MemoryError('Unable to allocate 55. GiB')", "error: not enough memory: lower data.global_batch_size"),
        ('RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', "error: not enough memory"),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory')", "error: not enough memory"),
        ("OSError(36, 'File name too long', 'x' * 5000)", "is too long for a path: choose another"),
    ],
)
def test_failures_of_the_machine_are_reported_in_one_line(monkeypatch, capsys, error, says):
    import job.__main__ as program

    def fail(*_, **__):
        raise eval(error)

    monkeypatch.setattr(program, "main", fail)
    monkeypatch.setattr(program, "scrub_tracebacks", lambda: None)
    assert program.run() == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
    assert len(shown) < 700


def test_a_path_of_shards_that_is_too_long_is_reported(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"data: {{shards: {tmp_path}/{'x' * 300}}}\n")
    command = [sys.executable, "-m", "job", "train", "--check", "--config", str(tmp_path / "mine.yaml")]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: ")
