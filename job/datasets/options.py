"""Read the options of a layout from the command line, check them, and fill in the defaults.

The type of a default is the type of its option. An option without a default is text, or an integer if `Layout.numbers`
lists it.
"""

import difflib
from collections.abc import Iterable
from typing import Any

from job.datasets.layout import Layout
from job.system.errors import JobError
from job.system.text import shortened

_BOOLS = {"true": True, "yes": True, "false": False, "no": False}


def read_options(layout: Layout, words: Iterable[str]) -> dict[str, Any]:
    """Parse options of the form KEY=VALUE. Raises JobError for words of another form.

    A value that does not convert to the type of its option stays text, which `complete_options` refuses.
    """
    options = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise JobError(f"--option {word!r} is not of the form KEY=VALUE")
        options[name] = _convert(text, _type(layout, name))
    return options


def complete_options(layout: Layout, options: dict[str, Any]) -> dict[str, Any]:
    """Return the layout's options, the user's before the defaults, without the defaults of `layout.newer`.

    Raises JobError for unknown options and values.
    """
    for name, value in options.items():
        if name not in layout.options:
            near = difflib.get_close_matches(name, layout.options, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(layout.options) or 'none'}"
            raise JobError(f"layout {layout.name} has no option {name!r}: {known}")
        _check(name, value, _type(layout, name), layout.options[name])
    complete = {**layout.options, **options}
    if layout.find is not None and complete["val"] + complete["test"] >= 1:
        raise JobError(f"--option val={complete['val']} and test={complete['test']} leave nothing to train on")
    return {name: value for name, value in complete.items() if name not in layout.newer or value is not None}


def _type(layout: Layout, name: str) -> type:
    default = layout.options.get(name)
    if default is not None:
        return type(default)
    return int if name in layout.numbers else str


def _convert(text: str, kind: type) -> Any:
    try:
        return _BOOLS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        return text


def _check(name: str, value: Any, kind: type, default: Any) -> None:
    """Raise JobError unless the value has the type of its option."""
    if value is None and default is None:
        return
    example = "" if default is None else f", such as {default}"
    if kind is bool:
        valid, expected = isinstance(value, bool), "true or false"
    elif kind is int:
        valid, expected = type(value) is int and value >= 1, f"a whole number from 1 up{example}"
    elif kind is float:
        valid, expected = type(value) is float and 0 < value < 1, f"a share between 0 and 1{example}"
    else:
        valid, expected = isinstance(value, str) and value != "", "text" if default is None else f"a name{example}"
        if valid and (value.encode("utf-8", "ignore").decode() != value or "\0" in value):
            valid, expected = False, "text in UTF-8, for the manifest: rename the file or folder"
    if not valid:
        raise JobError(f"--option {name}={shortened(str(value))}: expected {expected}")
