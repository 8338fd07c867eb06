"""The pages of the documentation as tests read them: links, code blocks, command lines."""

import re
from pathlib import Path

from tests.support.running import REPO

PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("benchmarks/*.md")])
PICTURES = sorted(
    path for ending in ("png", "jpg", "svg", "gif") for path in [*REPO.glob(f"docs/**/*.{ending}")] if path.is_file()
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def without_code(text: str) -> str:
    """The text of a page without its fenced blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def links(page: Path) -> list[str]:
    """The targets of all links and pictures of a page."""
    return _LINK.findall(without_code(page.read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def command_lines(page: Path) -> list[str]:
    """The lines of fenced and indented code blocks, with continuation lines joined and comments cut."""
    text = page.read_text()
    blocks = [block for language, block in _FENCE.findall(text) if language in ("", "sh", "bash", "console")]
    outside = _FENCE.sub("", text)
    blocks += re.findall(r"(?:^(?: {4}|\t)[^\n]*\n)+", outside, re.M)
    lines: list[str] = []
    for block in blocks:
        joined = re.sub(r"\\\n\s*|\n\s+(?=\[--)", " ", block)
        lines += [re.split(r"\s#\s", f" {line}")[0].strip() for line in joined.splitlines()]
    return [line for line in lines if line]


def inline_commands(page: Path) -> list[str]:
    """Commands of the job within the text, which may be mere names, such as `python -m job compare`."""
    return re.findall(r"`(python -m job [^`\n]+)`", _FENCE.sub("", page.read_text()))
