"""The folders, files and ports of the local stack.

Variables that begin with ``UNITPOOL_LOCAL_`` change them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
STATE = ".local"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of docs/interfaces.md, and that of Kafka's controller.

    Only Kafka uses the latter.
    """

    reporting: int = 8000
    allocation: int = 8001
    metering: int = 8002
    alerts: int = 8003
    reporting_worker: int = 8004
    oidc: int = 8009
    kafka: int = 19092
    kafka_controller: int = 19093
    postgres: int = 15432

    def by_name(self) -> dict[str, int]:
        """Each port by its name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of one local stack."""

    root: Path
    ports: Ports

    @property
    def secrets(self) -> Path:
        """Generated passwords and keys."""
        return self.root / "secrets"

    @property
    def exports(self) -> Path:
        """Exported files."""
        return self.root / "exports"

    @property
    def logs(self) -> Path:
        """One log per service."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """The lock file of the running demo; it contains the launcher's process id."""
        return self.root / "demo.pid"

    @property
    def loaded(self) -> Path:
        """The file that names the loaded parts of the demo data."""
        return self.root / "demo.loaded"


def layout() -> Layout:
    """The layout of this checkout, with the changes that the environment asks for."""
    ports = {
        name: int(value)
        for name in Ports.__slots__
        if (value := os.environ.get(f"UNITPOOL_LOCAL_{name.upper()}_PORT", "")).isdigit()
    }
    root = Path(os.environ.get("UNITPOOL_LOCAL_ROOT") or CHECKOUT / STATE)
    return Layout(root.absolute(), Ports(**ports))
