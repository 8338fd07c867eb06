"""What the ranks of a run agree on: on which nodes they are, and the errors that one of them finds."""

import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from job.system.errors import JobError

Result = TypeVar("Result")


class Problem(NamedTuple):
    """The message of a JobError that a rank has found, for the other ranks, and that rank."""

    message: str
    rank: int
    host: str

    @classmethod
    def here(cls, accelerator: Accelerator, message: object) -> "Problem":
        """Return a problem of this rank."""
        return cls(str(message), accelerator.process_index, socket.gethostname())


def rank_hosts(accelerator: Accelerator) -> list[str]:
    """Return the name of each rank's node. All ranks must call this."""
    return list(gather_object([socket.gethostname()])) if accelerator.num_processes > 1 else [socket.gethostname()]


def raise_first(accelerator: Accelerator, problems: Iterable[Problem | None]) -> None:
    """Raise the first of the problems of all ranks, if there is one, as a JobError that names the rank that found it.

    All ranks must call this, with the same problems.
    """
    for problem in problems:
        if problem is not None:
            error = JobError(problem.message)
            error.rank = (problem.rank, problem.host) if accelerator.num_processes > 1 else None
            raise error


def on_main(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Run `action` on the main rank while the others wait; return its result on every rank. All ranks must call this.

    When the action raises JobError or OSError, every rank raises the same JobError, which names the main rank;
    otherwise the others would wait for the main rank until the time-out.
    """
    outcome: list[tuple[Result | None, Problem | None]] = [(None, None)]
    if accelerator.is_main_process:
        try:
            outcome[0] = action(), None
        except JobError as error:
            outcome[0] = None, Problem.here(accelerator, error)
        except OSError as error:
            message = (
                f"cannot write {error.filename} ({error.strerror}): make room, then run the same command to resume"
            )
            outcome[0] = None, Problem.here(accelerator, message)
    broadcast_object_list(outcome)
    result, problem = outcome[0]
    raise_first(accelerator, [problem])
    return result  # type: ignore[return-value]
