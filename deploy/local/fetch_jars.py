"""``python -m deploy.local.fetch_jars [lock]``: fetch Kafka's jars with jgo.

With ``lock``, resolve their versions again first, and write the lock file.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import jgo
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext

from deploy.local.errors import LocalStackError
from deploy.local.jars import LOCK, REPOSITORY, Jar, locked

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!"  # "!": its version list would change Kafka's versions


def fetch() -> None:
    """Fetch the jars that are missing.

    Raises:
        LocalStackError: a jar cannot be fetched, or its content is not the locked one.
    """
    missing = [jar for jar in locked() if not jar.is_here()]
    if not missing:
        return
    print(f"fetching Apache Kafka ({len(missing)} jars)", flush=True)
    context = MavenContext(repo_cache=REPOSITORY, remote_repos={"central": MAVEN_CENTRAL_URL})

    def fetch_one(jar: Jar) -> None:
        jar.path.unlink(missing_ok=True)
        try:
            context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        except (OSError, RuntimeError) as error:
            raise LocalStackError(f"{jar.artifact} {jar.version} cannot be fetched: {error}") from error
        if not jar.is_here():
            raise LocalStackError(f"{jar.artifact} {jar.version} does not have the hash in {LOCK.name}.")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch_one, missing))


def lock() -> None:
    """Resolve Kafka's dependencies again and write the lock file."""
    with TemporaryDirectory() as folder:
        environment = jgo.build(f"{KAFKA}+{LOGGING}", cache_dir=Path(folder), update=True)
        content = (environment.path / "jgo.lock.toml").read_text()
    LOCK.write_text("".join(line for line in content.splitlines(keepends=True) if not line.startswith("generated")))


def main(arguments: list[str]) -> int:
    """Fetch the jars, after resolving the lock file again if the argument is ``lock``."""
    try:
        if arguments == ["lock"]:
            lock()
        fetch()
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
