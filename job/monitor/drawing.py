"""Figures drawn beside the training, by a process that never holds it up."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

log = logging.getLogger("job")
ROOT = Path(__file__).parents[2]  # the folder that holds the package


class Drawing:
    """At most one drawing at a time. A failure is told once and ends the drawing, never the training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self._failed = False

    def start(self, step: int | None, status: str = "running", figures: bool = True) -> None:
        """Draw the run as its folder shows it at `step`; without `figures`, those of the test split and the report.

        While another drawing goes on this one is left out.
        """
        if self._failed or self._process is not None:
            return
        environment = dict(os.environ)
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "job.monitor.draw", str(self._folder.absolute()), status]
        command += [] if figures else ["--test-only"]
        self._step = step
        try:
            self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
            self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._errors, env=environment
            )
        except OSError as error:
            self._give_up(str(error))

    def collect(self) -> tuple[int | None, dict[str, Path]] | None:
        """The step and the figures of a drawing that is done since the last call; else None, at once."""
        if self._process is None or self._process.poll() is None:
            return None
        code, self._process = self._process.returncode, None
        self._output.seek(0)
        self._errors.seek(0)
        output, errors = self._output.read(), self._errors.read()
        self._output.close()
        self._errors.close()
        if code:
            self._give_up((errors.strip().splitlines() or [f"exit code {code}"])[-1])
            return None
        return self._step, {name: Path(path) for name, path in json.loads(output).items()}

    def wait(self, seconds: float) -> tuple[int | None, dict[str, Path]] | None:
        """Wait for the drawing that goes on, if any; one that takes longer is ended."""
        if self._process is None:
            return None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._process = None
            log.warning("figures took more than %d s and are left out: `python -m job report` draws them", seconds)
            return None
        return self.collect()

    def _give_up(self, why: str) -> None:
        self._failed = True
        log.warning("cannot draw figures (%s); going on without them: `python -m job report` draws them later", why)
