"""Data sets of people who are all of one domain: they need another beside them."""

from job.system.errors import JobError


def only_in_a_pair(name: str, root: str, source: str | None) -> None:
    """Raise JobError where a data set that is one domain is asked for alone: then the user has named two of it."""
    if source is not None:
        raise JobError(
            f"{name} is one domain and wants another: job shards pair --source {name}:{root} --target LAYOUT:DIR"
        )
