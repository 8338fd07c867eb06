"""The options of a layout: read from the command line, checked, and completed with the defaults, which say the kind.

One without a default is a text, unless the layout counts it among its numbers.
"""

import difflib
from collections.abc import Iterable
from typing import Any

from job.datasets.layout import Layout
from job.system.errors import JobError
from job.system.text import shortened

_BOOLS = {"true": True, "yes": True, "false": False, "no": False}


def read_options(layout: Layout, words: Iterable[str]) -> dict[str, Any]:
    """Options as the command line gives them, KEY=VALUE; a text is taken as it stands. Raises JobError for other words.

    What is not of its option's kind stays a text, which `complete_options` refuses.
    """
    options = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise JobError(f"--option {word!r} is not of the form KEY=VALUE")
        options[name] = _read(text, _kind(layout, name))
    return options


def complete_options(layout: Layout, options: dict[str, Any]) -> dict[str, Any]:
    """The layout's options with the user's in place. Raises JobError for one that it does not have, or cannot be."""
    for name, value in options.items():
        if name not in layout.options:
            near = difflib.get_close_matches(name, layout.options, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(layout.options) or 'none'}"
            raise JobError(f"layout {layout.name} has no option {name!r}: {known}")
        _check(name, value, _kind(layout, name), layout.options[name])
    complete = {**layout.options, **options}
    if layout.find is not None and complete["val"] + complete["test"] >= 1:
        raise JobError(f"--option val={complete['val']} and test={complete['test']} leave nothing to train on")
    return complete


def _kind(layout: Layout, name: str) -> type:
    default = layout.options.get(name)
    if default is not None:
        return type(default)
    return int if name in layout.numbers else str


def _read(text: str, kind: type) -> Any:
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        return text


def _check(name: str, value: Any, kind: type, default: Any) -> None:
    """Raise JobError unless the value is of the kind of its option."""
    if value is None and default is None:
        return
    such = "" if default is None else f", such as {default}"
    if kind is bool:
        right, wants = isinstance(value, bool), "true or false"
    elif kind is int:
        right, wants = type(value) is int and value >= 1, f"a whole number from 1 up{such}"
    elif kind is float:
        right, wants = type(value) is float and 0 < value < 1, f"a share between 0 and 1{such}"
    else:
        right, wants = isinstance(value, str) and value != "", f"a text{such}" if default is None else f"a name{such}"
        if right and (value.encode("utf-8", "ignore").decode() != value or "\0" in value):
            right, wants = False, "a text in UTF-8, for the manifest: rename the file or folder"
    if not right:
        raise JobError(f"--option {name}={shortened(str(value))}: wants {wants}")
