"""What is due after a step: logging, evaluation, a checkpoint, stopping."""

from typing import NamedTuple

from job.config.schema import Train


class Due(NamedTuple):
    """What follows a step. The same on every rank."""

    log: bool
    evaluate: bool
    save: bool
    stop: bool

    @property
    def anything(self) -> bool:
        return any(self)


def due_after(done: int, settings: Train, stop: bool) -> Due:
    """Decide what is due when `done` steps are done and a `stop` has, or has not, been agreed on.

    At the last step everything is due. At any other, a stop leaves a checkpoint and no evaluation: whoever sends the
    signal may not wait for one, so it is made up for when the run resumes.
    """
    last = done == settings.steps
    stop = stop and not last
    return Due(
        log=done % settings.log_every == 0 or last,
        evaluate=(done % settings.eval_every == 0 or last) and not stop,
        save=done % settings.checkpoint_every == 0 or last or stop,
        stop=stop,
    )


def evaluation_is_due(done: int, settings: Train) -> bool:
    """Whether an evaluation belongs to this step, stopped or not."""
    return done > 0 and (done % settings.eval_every == 0 or done == settings.steps)
