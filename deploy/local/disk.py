"""Room on the disk, asked for before anything is written."""

import shutil
from pathlib import Path

from deploy.local.errors import LocalStackError

MIB = 1024 * 1024


def require_room(folder: Path, needed_mib: int) -> None:
    """Refuse to start on a disk that is nearly full.

    Raises:
        LocalStackError: fewer than ``needed_mib`` MiB are free where ``folder`` is, or will be.
    """
    there = folder
    while not there.exists():
        there = there.parent
    free_mib = shutil.disk_usage(there).free // MIB
    if free_mib < needed_mib:
        raise LocalStackError(
            f"Nothing was started: the disk of {folder} is full ({free_mib} MiB free, {needed_mib} needed)."
        )
