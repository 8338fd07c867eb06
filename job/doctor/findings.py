"""Results of checks, and their table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

OK, WARN, FAIL = "ok", "warn", "fail"
LEVELS = (OK, WARN, FAIL)


@dataclass(frozen=True)
class Finding:
    """One line of the table. `advice` says what to do when the level is not ok."""

    check: str
    level: str
    result: str
    advice: str = ""
    where: str = ""  # host, or pair of hosts

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def below(check: str, value: float, warn: float, fail: float, result: str, advice: str) -> Finding:
    """Rate a value that should be large: FAIL below `fail`, WARN below `warn`."""
    level = FAIL if value < fail else WARN if value < warn else OK
    return Finding(check, level, result, "" if level == OK else advice)


def differing(check: str, values: dict[str, str], advice: str) -> list[Finding]:
    """Return a failure for every host whose value differs from that of the first."""
    head, expected = next(iter(values.items()))
    return [
        Finding(check, FAIL, f"{value}, but {expected} on {head}", advice, where)
        for where, value in values.items()
        if value != expected
    ]


def worst(findings: Sequence[Finding]) -> str:
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)


def table(findings: Sequence[Finding], hosts: int) -> str:
    """Format findings as text: hosts with the same result share a line, and advice follows on the next line."""
    shared: dict[tuple[str, str, str, str], list[str]] = {}
    for finding in findings:
        shared.setdefault((finding.check, finding.level, finding.result, finding.advice), []).append(finding.where)
    order = list(dict.fromkeys(finding.check for finding in findings))
    rows = sorted(shared.items(), key=lambda row: (order.index(row[0][0]), LEVELS.index(row[0][1]), row[1]))
    lines = []
    for (check, level, result, advice), where in rows:
        named = sorted(set(filter(None, where)))
        place = "" if hosts == 1 or not named else "all: " if len(named) == hosts else f"{_brief(named)}: "
        lines.append(f"{level:<5} {check:<16} {place}{result}")
        if advice:
            lines.append(f"{'':<22} -> {advice}")
    return "\n".join(lines)


def _brief(names: list[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
