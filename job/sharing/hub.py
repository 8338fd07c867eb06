"""`python -m job push`: upload a model to the Hugging Face hub."""

import os
import re
import tempfile
from pathlib import Path

from job.run_folder.shared import HUB, import_hub
from job.sharing.folder import FILES, Sizes, write_folder
from job.system.errors import JobError
from job.system.secrets import brief

TOKEN = "HF_TOKEN"
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def push(
    checkpoint: str | Path, repo: str, *, licence: str = "other", public: bool = False, dry_run: bool = False
) -> tuple[Sizes, str]:
    """Upload the three files of `write_folder` to `repo`, which is created if it does not exist, private by default.

    Returns the names and sizes in bytes of the files, and the address; with `dry_run` nothing is sent, and the address
    is where they would be. The token is read from the environment (HF_TOKEN). Raises JobError when there is none, and
    when the hub refuses.
    """
    if not _REPO.fullmatch(repo):
        raise JobError(f"--repo {repo} is not of the form USER/NAME")
    huggingface_hub = import_hub()
    token = os.environ.get(TOKEN, "").strip()
    if not token and not dry_run:
        raise JobError(f"push needs a token of the hub: set {TOKEN} in the environment, or add --dry-run")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        files = write_folder(checkpoint, folder, repo=repo, licence=licence)
        if dry_run:
            return files, f"{HUB}{repo}"
        try:
            api = huggingface_hub.HfApi(token=token)
            api.create_repo(repo, private=not public, exist_ok=True)
            api.upload_folder(
                repo_id=repo, folder_path=folder, allow_patterns=list(FILES), commit_message="Upload of emotion-dann"
            )
        except Exception as error:  # the library and its HTTP client raise errors of many types
            raise JobError(f"cannot push to {repo} ({brief(error)}): check the name, the network and {TOKEN}") from None
    return files, f"{HUB}{repo}"
