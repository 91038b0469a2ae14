"""Apache Kafka's jars, as ``kafka.lock.toml`` names them.

Their hashes are checked before every start.
"""

import hashlib
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import LocalStackError

LOCK = Path(__file__).with_name("kafka.lock.toml")
REPOSITORY = Path(sys.prefix) / "kafka"


@dataclass(frozen=True, slots=True)
class Jar:
    """One artifact of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Its file, in the layout of a Maven repository."""
        return REPOSITORY.joinpath(
            *self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar"
        )

    def is_here(self) -> bool:
        """Whether its file exists and has the locked content."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def locked() -> list[Jar]:
    """The jars of the lock file."""
    content = tomllib.loads(LOCK.read_text())
    return [Jar(d["groupId"], d["artifactId"], d["version"], d["sha256"]) for d in content["dependencies"]]


def class_path() -> str:
    """Kafka's class path.

    Raises:
        LocalStackError: a jar is missing, or its content is not the locked one.
    """
    jars = locked()
    missing = [jar.artifact for jar in jars if not jar.is_here()]
    if missing:
        raise LocalStackError(f"Kafka is not complete ({len(missing)} jars, {missing[0]} first); run `make env`.")
    return ":".join(str(jar.path) for jar in jars)
