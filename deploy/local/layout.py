"""Where the local stack keeps its state, and its fixed ports. ``UNITPOOL_LOCAL_*`` variables move them."""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
STATE = ".local"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of docs/interfaces.md; the controller's is Kafka's own affair."""

    reporting: int = 8000
    allocation: int = 8001
    metering: int = 8002
    alerts: int = 8003
    oidc: int = 8009
    kafka: int = 19092
    kafka_controller: int = 19093
    postgres: int = 15432

    def by_name(self) -> dict[str, int]:
        """Name -> port."""
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
    def logs(self) -> Path:
        """One log per service."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held by the launcher while its demo runs; holds its process id."""
        return self.root / "demo.pid"

    @property
    def loaded(self) -> Path:
        """Which parts of the demo data are loaded."""
        return self.root / "demo.loaded"


def layout() -> Layout:
    """That of this checkout, as far as the environment does not say otherwise."""
    moved = {
        name: int(value)
        for name in Ports.__slots__
        if (value := os.environ.get(f"UNITPOOL_LOCAL_{name.upper()}_PORT", "")).isdigit()
    }
    root = Path(os.environ.get("UNITPOOL_LOCAL_ROOT") or CHECKOUT / STATE)
    return Layout(root.absolute(), Ports(**moved))
