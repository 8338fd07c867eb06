"""Recognise secrets, and remove them from text before it leaves the program.

All output passes through `scrub`: `JobError` (stderr, status.json, the launch scripts), the log, crash reports, the
stored configuration, reports, and everything sent to W&B.
"""

import logging
import os
import re
from collections.abc import Iterator
from typing import Any

from job.system.text import first_line, printable

HIDDEN = "[secret]"
# Endings of the names of environment variables that hold a secret: AWS_ACCESS_KEY_ID, GITHUB_PAT, DB_PASS, PGPASSWORD.
_NAMES = re.compile(
    r"(API_?KEY|_KEY|_KEY_ID|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|_PASS|_PWD|_PAT|CREDENTIALS?|COOKIE"
    r"|CONNECTION_STRING)$",
    re.IGNORECASE,
)
_VARIABLE = r"(?:\w+ +)?\$"  # `$TOKEN` or `Bearer $TOKEN`: the shell inserts the secret, the text itself has none
_WORDS = r"signature|token|credential|secret|passw(?:or)?d|passphrase|api_?key|access_?key|account_?key|accesskeyid"

# Patterns of secrets; the group `secret` matches the secret itself.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        ("a URL with a password", r"""(?<=://)(?P<secret>[^/\s'"]{0,200}?:[^/\s'"]{1,500})(?=@)"""),
        ("a URL with a token before its host", r"""(?<=://)(?P<secret>(?!\[)[^/\s'":@]{16,500})(?=@)"""),
        ("a bearer token", rf"(?i)\bbearer(?! +{_VARIABLE}) +(?P<secret>[\w.~+/=-]{{8,}})"),
        (
            "an authorisation header",
            rf"""(?i)authorization:(?! *{_VARIABLE}) *(?:\w+ +)?(?P<secret>[\w.~+/=-]{{6,}})""",
        ),
        (
            "a signature, key or token",
            rf"""(?i)(?<![\w.-])[\w.-]{{0,60}}(?:{_WORDS})[\w-]{{0,60}}=(?!{_VARIABLE})(?P<secret>[^&\s'"]+)""",
        ),
        (
            "a signed URL",
            r"""(?i)[?&;](?:sig|key|pass|pwd|auth|code|policy|session|key-pair-id)=(?P<secret>[^&\s'"$]+)""",
        ),
        (
            "a header with a secret",
            r"""(?i)(?:-H|--header)[ =]*['"]?(?!accept|content-|host|range|user-agent|referer|cache-)[\w-]+:"""
            rf"""(?! *{_VARIABLE}) *(?P<secret>[^'"\s][^'"\n]*)""",
        ),
        (
            "a user's password",
            r"""(?<!\S)(?:-u|-U|--user|--proxy-user)[ =]+['"]?[^\s'":]+:(?!\$)(?P<secret>[^\s'"]+)""",
        ),
        ("a cookie", r"""(?<!\S)(?:-b|--cookie)[ =]+['"]?(?P<secret>[\w.-]+=[^$'"\n][^'"\n]*)"""),
        (
            "an option with a secret",
            r"(?i)(?<!\S)--(?:[\w-]{0,60}(?:password|passwd|token|secret|api-?key|access-?key)[\w-]{0,60}|oauth2-bearer"
            r"""|pass)[ =]+(?!\$|-)['"]?(?!\$)(?P<secret>[^\s'"]+)""",
        ),
        ("an access key", r"\b(?P<secret>(?:AKIA|ASIA)[0-9A-Z]{16})\b"),
        (
            "an access token",
            r"\b(?P<secret>gh[pousr]_\w{30,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|wandb_v\d_\w{20,}"
            r"|sk-(?:\w+-)?[A-Za-z0-9]{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|eyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]*)",
        ),
        ("a private key", r"(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*)"),
    )
)
_ASSIGNED = re.compile(r"""\b(?P<name>[A-Za-z]\w{0,60})=(?P<quote>['"]?)(?!\$)(?P<secret>[^\s'"&]+)""")


_last: tuple[dict[bytes, bytes], dict[str, str]] = {}, {}  # an environment, and its secrets


def secret_values() -> dict[str, str]:
    """Return the environment variables that contain secrets, the longest first; do not change the result.

    The path of a file with a secret is not a secret. Variables are examined again only when one has changed: every line
    of the log comes here, and comparing all of them takes about a hundredth of the time.
    """
    global _last
    before, secrets = _last
    now = os.environ._data  # type: ignore[attr-defined]  # what `items` would decode, name by name
    if before != now:
        before = dict(now)  # before they are read: a change meanwhile is found at the next call
        found = [(name, value) for name, value in os.environ.items() if _NAMES.search(name) and _is_secret(name, value)]
        secrets = dict(sorted(found, key=lambda each: len(each[1]), reverse=True))
        _last = before, secrets
    return secrets


def _is_secret(name: str, value: str) -> bool:
    shortest = 12 if "KEY" in name.upper() else 8  # a KEY may be an ordinary word: SORT_KEY=accuracy
    return len(value) >= shortest and not (value.startswith("/") and os.path.exists(value))


def _matches(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield kind, start and end of every secret that a pattern matches; environment variables are not looked up."""
    for what, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            if HIDDEN not in match["secret"]:
                yield what, *match.span("secret")
    for match in _ASSIGNED.finditer(text):
        name = match["name"]
        if _NAMES.search(name) and not name.islower() and HIDDEN not in match["secret"]:
            yield f"a value for {name}", *match.span("secret")


def find_secret(text: str) -> str | None:
    """Describe the first secret in `text`, for a message; None if there is no secret."""
    for name, value in secret_values().items():
        if value in text:
            return f"the value of the environment variable {name}"
    return next((what for what, _, _ in _matches(text)), None)


def scrub(text: str) -> str:
    """Replace secrets: values of environment variables, passwords and signatures in URLs, tokens and headers."""
    for value in secret_values().values():
        text = text.replace(value, HIDDEN)
    pieces, end = [], 0
    for _, start, stop in sorted(_matches(text), key=lambda match: match[1:]):
        if start >= end:
            pieces += [text[end:start], HIDDEN]
        end = max(end, stop)
    return "".join([*pieces, text[end:]])


def scrub_all(content: Any) -> Any:
    """Scrub all text in nested dictionaries and lists."""
    if isinstance(content, str):
        return scrub(content)
    if isinstance(content, dict):
        return {key: scrub_all(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [scrub_all(value) for value in content]
    return content


def brief(error: BaseException) -> str:
    """Describe an error in one line, without secrets."""
    line = first_line(str(error))
    return printable(scrub(f"{type(error).__name__}: {line}" if line else type(error).__name__))


class ScrubbingFormatter(logging.Formatter):
    """Formats log lines without secrets and control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(scrub(super().format(record)))
