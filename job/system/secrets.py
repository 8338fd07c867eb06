"""Keeping secrets out of everything that is written: logs, reports, what W&B is sent."""

import logging
import os
import re
from typing import Any

from job.system.errors import JobError, first_line

HIDDEN = "[secret]"
_NAMES = re.compile(r"(API_?KEY|_KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]+(?=@)")
_BEARER = re.compile(r"(?i)(?<=\bbearer )[\w.~+/=-]{8,}")
_SIGNED = re.compile(r"(?i)((?:signature|sig|token|x-amz-credential|x-amz-security-token|accesskeyid)=)[^&\s'\"]+")


def secret_values() -> dict[str, str]:
    """Environment variables that hold secrets, by their names."""
    return {name: value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= 12}


def scrub(text: str) -> str:
    """`text` without the values of secret environment variables, passwords and signatures in URLs, bearer tokens."""
    for value in secret_values().values():
        text = text.replace(value, HIDDEN)
    text = _IN_URL.sub(HIDDEN, text)
    text = _BEARER.sub(HIDDEN, text)
    return _SIGNED.sub(rf"\1{HIDDEN}", text)


def scrub_all(content: Any) -> Any:
    """The same for all text in nested dictionaries and lists."""
    if isinstance(content, str):
        return scrub(content)
    if isinstance(content, dict):
        return {key: scrub_all(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [scrub_all(value) for value in content]
    return content


def brief(error: BaseException) -> str:
    """An error in one line, without secrets."""
    kind, message = type(error).__name__, first_line(error)
    return scrub(kind if message == kind else f"{kind}: {message}")


def refuse_secrets(text: str, where: str) -> None:
    """Raise JobError when a configuration holds a secret: it is copied to the run folder and every checkpoint."""
    for name, value in secret_values().items():
        if value in text:
            raise JobError(
                f"{where} holds the value of the environment variable {name}: take it out, the variable is enough"
            )
    if _IN_URL.search(text):
        raise JobError(
            f"{where} holds a URL with a password, which would be copied to every checkpoint: take it out and fetch "
            "with data.allow_pipe=true and `pipe:curl -sfL --netrc URL`, the password being in ~/.netrc"
        )


class ScrubbingFormatter(logging.Formatter):
    """A log line without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))
