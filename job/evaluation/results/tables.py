"""The results of an evaluation as tables: rows of plain text, made into Markdown, LaTeX and terminal lines."""

from collections.abc import Sequence
from typing import Any

from job.evaluation import latex, markdown
from job.evaluation.protocol import described
from job.vocabulary import DOMAINS

_MEASURES = ("accuracy", "macro_f1", "expected_calibration_error")
_OF_CLASSES = ("precision", "recall", "f1")
OTHER_INTERVALS = "report.html and the model card have other intervals (Wilson): they treat the images as independent"

Table = tuple[list[str], list[list[str]]]  # heads, rows


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Format a number; a dash where it is not defined."""
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def with_interval(value: float | None, ends: Sequence[float | None], sign: str = "") -> str:
    """Format a value with its 95 % interval: `0.710 (0.664 to 0.752)`."""
    if value is None or None in ends:
        return number(value, sign=sign)
    return f"{value:{sign}.3f} ({' to '.join(f'{end:{sign}.3f}' for end in ends)})"


def by_domain(results: dict[str, Any]) -> Table:
    """Return a row for each domain and one for the gap between them."""
    heads = ["domain", "images", "subjects", "accuracy (95 %)", "macro-F1 (95 %)", "ECE (95 %)"]
    rows = []
    for role in DOMAINS:
        domain = results["domains"][role]
        if domain is None:
            rows.append([role, *["-"] * 2, "not measured: no labels", "-", "-"])
            continue
        subjects = str(domain["clusters"]["subjects"] or "unknown")
        measured = [with_interval(domain[name]["value"], domain[name]["interval"]) for name in _MEASURES]
        rows.append([role, str(domain["images"]), subjects, *measured])
    if (gap := results["gap"]) is not None:
        rows.append(["source minus target", "", "", with_interval(gap["value"], gap["interval"], "+"), "", ""])
    return heads, rows


def by_class(results: dict[str, Any]) -> Table:
    """Return a row for each class with precision, recall and F1 in each domain that has labels."""
    measured = {role: domain for role in DOMAINS if (domain := results["domains"][role]) is not None}
    heads = ["class"]
    for role in measured:
        heads += [f"{role} images", *(f"{role} {'F1' if name == 'f1' else name}" for name in _OF_CLASSES)]
    rows = []
    for name in results["class_names"]:
        row = [name]
        for domain in measured.values():
            values = domain["classes"][name]
            row += [str(values["images"]), *(number(values[measure]) for measure in _OF_CLASSES)]
        rows.append(row)
    return heads, rows


def notes(results: dict[str, Any]) -> list[str]:
    """Return the notes for a reader of the tables: the protocol, the source of the intervals, the A-distance."""
    measured = [domain for domain in results["domains"].values() if domain is not None]
    lines = [f"protocol: {described(results['protocol'])}"]
    if measured:
        known = all(domain["clusters"]["subjects"] for domain in measured)
        drawn = "subjects" if known else "images; where the subjects are unknown, the true uncertainty is larger"
        lines.append(f"intervals: bootstrap of {drawn}")
    if results["a_distance"] is not None:
        lines.append(f"proxy A-distance {results['a_distance']:.3f} (0: indistinguishable, 2: separable)")
    return lines


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table whose first column holds names, which must not become markup."""
    return markdown.table(heads, [[markdown.plain(name), *values] for name, *values in rows])


def as_markdown(results: dict[str, Any]) -> str:
    """Return all tables as Markdown."""
    parts = [f"# Results: {markdown.code(results['checkpoint'])}, {results['split']} split"]
    for title, (heads, rows) in (("Domains", by_domain(results)), ("Classes", by_class(results))):
        parts += [f"## {title}", markdown_table(heads, rows)]
    return "\n\n".join([*parts, *notes(results)]) + "\n"


def as_latex(results: dict[str, Any]) -> dict[str, str]:
    """Return the tables as LaTeX by file name; they need the package booktabs."""
    return {
        "domains.tex": latex.table(*by_domain(results), notes(results)),
        "classes.tex": latex.table(*by_class(results), notes(results)),
    }


def as_lines(results: dict[str, Any]) -> list[str]:
    """Return the domains' table and the notes as lines for the terminal, and the precision of each class."""
    heads, rows = by_domain(results)
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (heads, *rows)]
    for role, domain in results["domains"].items():
        if domain is not None:
            values = (f"{name} {number(each['precision'], 2)}" for name, each in domain["classes"].items())
            lines.append(f"precision per class, {role}: {'  '.join(values)}")
    return [*lines, *notes(results), *([OTHER_INTERVALS] if any(results["domains"].values()) else [])]
