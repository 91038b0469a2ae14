"""Apache Kafka's jars: exactly those of ``kafka.lock.toml``, checked before every start."""

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
    """One artifact as the lock file names it."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it is kept, laid out as in a Maven repository."""
        return REPOSITORY.joinpath(
            *self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar"
        )

    def is_here(self) -> bool:
        """Whether it is there with the locked content."""
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def locked() -> list[Jar]:
    """What the lock file names."""
    content = tomllib.loads(LOCK.read_text())
    return [Jar(d["groupId"], d["artifactId"], d["version"], d["sha256"]) for d in content["dependencies"]]


def class_path() -> str:
    """Kafka's class path.

    Raises:
        LocalStackError: a jar is missing or is not the locked one.
    """
    jars = locked()
    missing = [jar.artifact for jar in jars if not jar.is_here()]
    if missing:
        raise LocalStackError(f"Kafka is not complete ({len(missing)} jars, {missing[0]} first); run `make env`.")
    return ":".join(str(jar.path) for jar in jars)
