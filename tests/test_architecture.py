"""The layout of the code: packages import downwards only, and no function or file is too long to read at once."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.layers import LAYERS
from tests.support.running import REPO

LAYER = {name: height for height, names in enumerate(LAYERS) for name in names}
MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_A_FILE = 80, 300


def room_of(path: Path) -> str:
    """The first name below job/: a package, or a module of its own."""
    return path.relative_to(REPO / "job").parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """Line number and room of everything that a file imports from `job`, functions' own imports included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "job":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found += [(node.lineno, name) for name in names]
        elif isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            found += [(node.lineno, name[1]) for name in parts if name[0] == "job" and len(name) > 1]
    return found


FILES = sorted(path for path in (REPO / "job").rglob("*.py") if path != REPO / "job" / "__init__.py")


def test_no_package_imports_from_a_higher_layer():
    wrong = []
    for path in FILES:
        own = room_of(path)
        for line, room in imports(path):
            if room != own and LAYER[room] >= LAYER[own]:
                wrong.append(f"{path.relative_to(REPO)}:{line} imports job.{room}: {own} is below it or beside it")
    assert not wrong, "\n".join(wrong)


def test_reading_and_writing_shards_share_only_the_manifest():
    halves = re.compile(r"^\s*(?:from|import) job\.shards\.(reading|writing)\b", re.M)
    for half, other in (("reading", "writing"), ("writing", "reading")):
        for path in (REPO / "job" / "shards" / half).rglob("*.py"):
            assert other not in halves.findall(path.read_text()), f"{path} imports job.shards.{other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_is_too_long_to_read(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE, f"{path.name}: split it, one idea a file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{path.name}: {node.name} has {lines} lines"
