"""Check that a data set whose people are all in one domain is used in a pair."""

from job.system.errors import JobError


def only_in_a_pair(name: str, root: str, source: str | None) -> None:
    """Raise JobError when a data set of one domain is used alone: `source` is None only in a pair."""
    if source is not None:
        raise JobError(
            f"{name} is one domain and needs a second: job shards pair --source {name}:{root} --target LAYOUT:DIR, "
            "or --option gender=FILE, a table with the columns image and gender"
        )
