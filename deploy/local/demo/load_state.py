"""Which parts of the demo data are loaded.

This is saved on disk, so that a later start resumes loading.
"""

import json
from datetime import datetime
from pathlib import Path

from deploy.local import secret


class LoadState:
    """The loaded steps, in the file at ``path``.

    ``now``: when loading first began, to which all data is relative.
    """

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        try:
            saved = json.loads(path.read_text())
        except FileNotFoundError:
            saved = {"now": now.isoformat(), "subscriptions": {}, "done": []}
        self.now = datetime.fromisoformat(saved["now"])
        self.subscriptions: dict[str, str] = saved["subscriptions"]
        self._done: list[str] = saved["done"]
        self.save()

    @property
    def today(self) -> datetime:
        """The midnight before ``now``."""
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0)

    def is_done(self, step: str) -> bool:
        """Whether the step was completed, now or in an earlier run."""
        return step in self._done

    def finish(self, step: str) -> None:
        """Save that the step is completed."""
        self._done.append(step)
        self.save()

    def save(self) -> None:
        """Write the file."""
        content = {"now": self.now.isoformat(), "subscriptions": self.subscriptions, "done": self._done}
        secret.write_private(self._path, json.dumps(content, indent=1))
