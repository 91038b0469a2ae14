"""How far the demo data is loaded: kept on disk, so that a second start finds its data and goes on where it stopped."""

import json
from datetime import datetime
from pathlib import Path

from deploy.local import secret


class LoadState:
    """``now`` is when loading first began: the data is laid around it, however often loading is resumed."""

    def __init__(self, path: Path, now: datetime) -> None:
        self._path = path
        try:
            kept = json.loads(path.read_text())
        except FileNotFoundError:
            kept = {"now": now.isoformat(), "subscriptions": {}, "done": []}
        self.now = datetime.fromisoformat(kept["now"])
        self.subscriptions: dict[str, str] = kept["subscriptions"]
        self._done: list[str] = kept["done"]
        self.save()

    @property
    def today(self) -> datetime:
        """The midnight before ``now``."""
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0)

    def is_done(self, step: str) -> bool:
        """Whether the step was completed, now or in an earlier run."""
        return step in self._done

    def finish(self, step: str) -> None:
        """Remember that it is completed."""
        self._done.append(step)
        self.save()

    def save(self) -> None:
        """Write it."""
        content = {"now": self.now.isoformat(), "subscriptions": self.subscriptions, "done": self._done}
        secret.write_private(self._path, json.dumps(content, indent=1))
