"""The files of a profile (train.profile_steps) in a run folder."""

from pathlib import Path

FOLDER, TRACE, SUMMARY = "profile", "trace.json.gz", "summary.md"


def read_summary(folder: Path) -> str:
    """Return the summary of the profile in a run folder; empty if there is none."""
    try:
        return (folder / FOLDER / SUMMARY).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
