"""Decide what follows a step: logging, evaluation, a checkpoint, stopping."""

from typing import NamedTuple

from job.config.schema import Train


class Due(NamedTuple):
    """The actions that follow a step; equal on all ranks."""

    log: bool
    evaluate: bool
    save: bool
    stop: bool

    @property
    def anything(self) -> bool:
        return any(self)


def due_after(done: int, settings: Train, stop: bool) -> Due:
    """Decide what is due after `done` steps; `stop` is whether all ranks agreed to stop.

    After the last step everything is due. After any other, a stop saves a checkpoint and does not evaluate: the sender
    of the signal may not wait that long, so the evaluation follows when the run resumes.
    """
    last = done == settings.steps
    stop = stop and not last
    return Due(
        log=done % settings.log_every == 0 or last,
        evaluate=evaluation_is_due(done, settings) and not stop,
        save=done % settings.checkpoint_every == 0 or last or stop,
        stop=stop,
    )


def evaluation_is_due(done: int, settings: Train) -> bool:
    """Return whether this step must be evaluated, now or, after a stop, when the run resumes."""
    return done > 0 and (done % settings.eval_every == 0 or done == settings.steps)
