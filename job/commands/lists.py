"""Options that take a list, with commas or blanks between the items: `--seeds 0,1` or `--seeds 0 1`."""

from collections.abc import Sequence
from pathlib import Path

import click

LISTS = ("--seeds", "--methods")


class ListCommand(click.Command):
    """A command whose options of `LISTS` also take words separated by blanks, as launch/compare.sh does."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse the words after those of a list have become one word."""
        return super().parse_args(context, join_lists(args))


def join_lists(words: Sequence[str], lists: Sequence[str] = LISTS) -> list[str]:
    """Join the words of each list by commas: `--seeds 0 1 X.yaml` becomes `--seeds 0,1 X.yaml`.

    A list ends at an option, at key.sub=value and at a file, by the rules of launch/methods.sh.
    """
    joined: list[str] = []
    in_list = False
    for word in words:
        option = word.partition("=")[0] in lists
        in_list = option or (in_list and not _ends_list(word))
        if in_list and not option and joined[-1] not in lists:
            joined[-1] += f",{word}"
        else:
            joined.append(word)
    return joined


def _ends_list(word: str) -> bool:
    return word.startswith("-") or "=" in word or "/" in word or word.endswith(".yaml") or Path(word).is_file()
