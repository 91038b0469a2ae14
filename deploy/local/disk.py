"""Free space on the disk, checked before the first write."""

import shutil
from pathlib import Path

from deploy.local.errors import LocalStackError

MIB = 1024 * 1024


def require_free_space(folder: Path, needed_mib: int) -> None:
    """Check that the disk of ``folder`` has enough free space.

    The folder need not exist yet.

    Raises:
        LocalStackError: fewer than ``needed_mib`` MiB are free.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free_mib = shutil.disk_usage(existing).free // MIB
    if free_mib < needed_mib:
        raise LocalStackError(
            f"Nothing was started: the disk of {folder} is full ({free_mib} MiB free, {needed_mib} needed)."
        )
