"""Terminal output except the log."""

import click

from job.system.secrets import scrub
from job.system.text import printable


def echo(text: object, *, err: bool = False) -> None:
    """Print a line or a table on stdout, or on stderr with `err`, without secrets and control sequences.

    Names of files, classes and runs come from the user's data, so they must not control the terminal.
    """
    click.echo(printable(scrub(str(text))), err=err)
