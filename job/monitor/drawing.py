"""Draw figures during training, in a separate process."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

log = logging.getLogger("job")
ROOT = Path(__file__).parents[2]  # parent folder of the package


class Drawing:
    """Run one drawing process at a time. After a failure, log one warning and draw nothing more; training continues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self._failed = False

    def start(self, step: int | None, status: str = "running", figures: bool = True) -> None:
        """Start drawing all figures and the report of `step`; without `figures`, only test figures and the report.

        Do nothing while another drawing process is running.
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
        """Return step and figures of a drawing that has finished since the last call, else None. Does not wait."""
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
        """Wait for the running process, if any, and return its step and figures. Kill it after `seconds`."""
        if self._process is None:
            return None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._process = None
            log.warning("figures took more than %d s and are skipped: draw them with `python -m job report`", seconds)
            return None
        return self.collect()

    def _give_up(self, reason: str) -> None:
        self._failed = True
        log.warning(
            "cannot draw figures (%s); training continues without them: draw them later with `python -m job report`",
            reason,
        )
