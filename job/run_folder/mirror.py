"""Keep a copy of a run folder in an object store while the run trains.

The copy, MIRROR/NAME, has the layout of the run folder, so it can also be downloaded and used as one. The meta.json of
a checkpoint is written last and deleted first: a checkpoint that has one is complete.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from job.run_folder.checkpoint_meta import LARGEST, META, TRAINER, WEIGHTS
from job.run_folder.pointers import BEST, LATEST, checkpoint_paths, is_checkpoint_name, points_at, step_in
from job.system.files import open_regular
from job.system.object_store import NotThere, ObjectStore
from job.system.transfer import Result, with_retries

# of a run folder, besides checkpoints and evaluation/; W&B's own files are not copied
FILES = ("config.yaml", "metrics.jsonl", "alerts.jsonl", "facts.json", "summary.json", "log.txt", "report.html")
STATUS = "status.json"
CHECKPOINTS, EVALUATION = "checkpoints", "evaluation"

log = logging.getLogger("job")


class Mirror:
    """Copy the checkpoints, metrics and results of a run folder to an address, in a thread of its own.

    Training does not wait for it and does not fail with it: `problem` says what could not be copied; the next `update`
    tries again. The store has the checkpoints that the folder has: older ones are deleted there, too, but only when the
    newest one is complete. Raises JobError when the library of the store is missing.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self._stop = threading.Event()
        self._store = ObjectStore(address, self._stop)
        self._address, self._folder = address, folder
        self._changed = threading.Condition()
        self._kept: dict[str, _Source] = {}  # checkpoints that the folder had at the last update
        self._there: dict[str, bytes] | None = None  # checkpoints in the store: their meta.json, empty without one
        self._sent: dict[str, tuple[int, int]] = {}  # files in the store: time of change and size
        self._asked = self._done = 0  # updates
        self._failing, self._problem = False, ""
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def update(self) -> None:
        """Copy what the folder has now. Its checkpoints stay readable for the copy if they are deleted meanwhile."""
        kept = {}
        for path in checkpoint_paths(self._folder / CHECKPOINTS):
            with suppress(OSError):  # incomplete
                meta = (path / META).read_bytes()
                known = self._kept.get(path.name)
                kept[path.name] = known if known is not None and known.meta == meta else _Source(path, meta)
        with self._changed:
            self._kept = kept
            self._asked += 1
            self._changed.notify_all()

    @property
    def failing(self) -> bool:
        """Whether the last try to copy the run has failed."""
        return self._failing

    def problem(self) -> str:
        """Return what has failed since the last call; an empty string if nothing has, or it has been said before."""
        with self._changed:
            problem, self._problem = self._problem, ""
        return problem

    def wait(self, seconds: float) -> bool:
        """Wait until everything is copied. Returns False if that takes longer than `seconds` or has failed."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._done == self._asked, seconds)
            return done and not self._failing

    def wait_for(self, name: str, seconds: float) -> bool:
        """Wait until a checkpoint is in the store. Returns False if that takes longer than `seconds` or has failed."""

        def finished() -> bool:
            return self._has(name) or self._done == self._asked

        with self._changed:
            self._changed.wait_for(finished, seconds)
            return self._has(name)

    def close(self, seconds: float) -> None:
        """Copy what has changed since the last update, in at most this time, and end the thread."""
        self.update()
        if not self.wait(seconds):
            why = self.problem() or "the store is slow or does not answer"
            log.warning("the copy of the run in %s is not complete (%s); %s is", self._address, why, self._folder)
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(5)

    def _has(self, name: str) -> bool:
        there, source = self._there or {}, self._kept.get(name)
        return source is not None and there.get(name) == source.meta

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked > self._done or self._stop.is_set())
                asked = self._asked
            if self._stop.is_set():
                return
            why = ""
            try:
                self._copy()
            except Exception as error:  # of any library: the run must not end with its copy
                why = str(error)
            with self._changed:
                if why and not self._failing:
                    self._problem = f"the run cannot be copied to {self._address} ({why})"
                elif self._failing and not why:
                    log.info("the copy of the run in %s is complete again", self._address)
                self._failing = bool(why)
                self._done = asked
                self._changed.notify_all()

    def _copy(self) -> None:
        if self._there is None:
            self._there = self._try("listing", self._list)
        self._prune(self._there)  # first: the store may have room for no more
        while (found := self._next(self._there)) is not None:
            self._copy_checkpoint(*found, self._there)
            self._prune(self._there)
        self._copy_files()

    def _next(self, there: dict[str, bytes]) -> "tuple[str, _Source] | None":
        """Return the checkpoint to copy next: the newest, then the best, then the others."""
        with self._changed:
            best = points_at(self._folder / CHECKPOINTS, BEST)
            kept = self._kept
            newest = max(kept, key=step_in, default="")
            missing = [name for name, source in kept.items() if there.get(name) != source.meta]
        if not missing:
            return None
        rank = {newest: 2, **({best.name: 1} if best and best.name != newest else {})}
        name = max(missing, key=lambda each: (rank.get(each, 0), step_in(each)))
        return name, kept[name]

    def _copy_checkpoint(self, name: str, source: "_Source", there: dict[str, bytes]) -> None:
        place = f"{CHECKPOINTS}/{name}"
        if name in there:
            self._try(name, partial(self._store.delete, f"{place}/{META}"))
        there[name] = b""
        for file, path in source.files():
            self._try(name, partial(self._store.upload, path, f"{place}/{file}"))
        self._copy_files()  # first: no checkpoint may exist without its rows
        self._try(name, partial(self._store.write, f"{place}/{META}", source.meta))
        source.close()
        with self._changed:
            there[name] = source.meta
            self._changed.notify_all()

    def _copy_files(self) -> None:
        for path in (*(self._folder / name for name in (*FILES, STATUS)), *(self._folder / EVALUATION).glob("*")):
            try:
                status = path.stat()
                state = status.st_mtime_ns, status.st_size
                name = path.relative_to(self._folder).as_posix()
                if self._sent.get(name) == state:
                    continue
                content = path.read_bytes()
            except OSError:  # not written yet
                continue
            self._try(name, partial(self._store.write, name, content))
            self._sent[name] = state
        for name in (LATEST, BEST):
            target = points_at(self._folder / CHECKPOINTS, name)
            if target is not None and self._sent.get(name) != (state := (step_in(target.name), 0)):
                line = f"{target.name}\n".encode()
                self._try(name, partial(self._store.write, f"{CHECKPOINTS}/{name}", line))
                self._sent[name] = state

    def _prune(self, there: dict[str, bytes]) -> None:
        """Delete checkpoints that the folder no longer has, and incomplete ones; never the newest complete one."""
        kept = self._kept
        newest = max(kept, key=step_in, default="")
        whole = [newest] if self._has(newest) else [name for name in there if there[name]]
        complete = max(whole, key=step_in, default="")
        for name in [name for name in there if name not in kept and name != complete]:
            for file in (META, WEIGHTS, TRAINER):
                self._try(name, partial(self._store.delete, f"{CHECKPOINTS}/{name}/{file}"))
            del there[name]

    def _list(self) -> dict[str, bytes]:
        found = dict.fromkeys(checkpoints_in(self._store.names()), b"")
        for name in found:
            with suppress(NotThere):
                found[name] = self._store.read(f"{CHECKPOINTS}/{name}/{META}", LARGEST)
        return found

    def _try(self, what: str, action: Callable[[], Result]) -> Result:
        return with_retries(action, f"copying {what} to {self._address}", closed=self._stop)


class _Source:
    """A checkpoint of the run folder, open, so that it can be read after it is deleted."""

    def __init__(self, path: Path, meta: bytes) -> None:
        self.meta = meta
        self._open: dict[str, int] = {}
        for name in (WEIGHTS, TRAINER):
            with open_regular(path / name) as file:
                self._open[name] = os.dup(file.fileno())

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the name of each file and a path to read it from."""
        for name, descriptor in self._open.items():
            yield name, Path(f"/proc/self/fd/{descriptor}")

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        self.close()


def checkpoints_in(names: Iterable[str]) -> dict[str, bool]:
    """Return the checkpoints among the names of a store's objects, and whether each is complete."""
    found: dict[str, bool] = {}
    for name in names:
        first, checkpoint, *rest = [*name.split("/"), "", ""]
        if first == CHECKPOINTS and is_checkpoint_name(checkpoint):
            found[checkpoint] = found.get(checkpoint, False) or rest[0] == META
    return found
