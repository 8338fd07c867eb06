"""Agreement between the ranks of a run."""

from collections.abc import Callable

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from job.system.errors import JobError


def on_main(accelerator: Accelerator, action: Callable[[], None]) -> None:
    """Run `action` on the main rank while the others wait. All ranks must call this.

    When the action raises JobError or OSError, every rank raises the same JobError; otherwise the others would wait for
    the main rank until the time-out.
    """
    outcome: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            action()
        except JobError as error:
            outcome[0] = str(error)
        except OSError as error:
            outcome[0] = (
                f"cannot write {error.filename} ({error.strerror}): make room, then run the same command to resume"
            )
    broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise JobError(outcome[0])
