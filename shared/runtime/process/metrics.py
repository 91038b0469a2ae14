"""The runtime's own metrics, on the process-wide registry. No label holds a customer, a person or a resource."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CONSUMER_LAG_RECORDS = Gauge(
    "unitpool_consumer_lag_records", "Records in the topic that this process owns and has not applied yet", ["topic"]
)
CONSUMER_LAG_SECONDS = Gauge(
    "unitpool_consumer_lag_seconds", "How long the oldest record that is not applied yet has waited", ["topic"]
)
CONSUMER_HALTED = Gauge(
    "unitpool_consumer_halted", "1 where a consumer has stopped itself and waits for a person", ["topic"]
)
PARTITION_LAG_RECORDS = Gauge(
    "unitpool_consumer_partition_lag_records", "Records of one partition not applied yet", ["topic", "partition"]
)
PARTITION_POSITION = Gauge(
    "unitpool_consumer_partition_position", "The next offset of one partition to be applied", ["topic", "partition"]
)
FETCH_ERRORS = Counter(
    "unitpool_consumer_fetch_errors_total",
    "Fetches that failed, or brought what cannot be read",
    ["topic"],
)
RECORDS_LOST = Counter(
    "unitpool_records_lost_total",
    "Records that were never read, at most, as the database has them: expired in Kafka, or skipped by an operator",
    ["topic", "reason"],
)
SET_ASIDE_KEYS = Gauge(
    "unitpool_set_aside_keys", "Keys whose handling fails, and whose records wait to be tried again", ["topic"]
)
SET_ASIDE_RECORDS = Gauge(
    "unitpool_set_aside_records", "Records that wait for their key to be handled again, 10,000 at most", ["topic"]
)
UNREADABLE_ROWS = Counter(
    "unitpool_unreadable_rows_total", "Stored rows passed over because they could not be read, at each read", ["table"]
)
RECORDS_FETCHED = Counter(
    "unitpool_consumer_records_fetched_total",
    "Records handed over to be applied, repeats included; those applied are unitpool_batch_records_total",
    ["topic"],
)
BATCH_SECONDS = Histogram(
    "unitpool_batch_seconds", "One transaction over one batch of records, with its retries", ["topic"], buckets=_FAST
)
BATCH_RECORDS = Counter("unitpool_batch_records_total", "Records applied, each once", ["topic"])
BATCH_RETRIES = Counter(
    "unitpool_batch_retries_total", "Batches that met an error that passes, and were tried again", ["topic"]
)
DEAD_LETTERS = Counter("unitpool_dead_letters_total", "Records put among the dead letters", ["topic", "reason"])

CLOCK_OFFSET_SECONDS = Gauge(
    "unitpool_clock_offset_seconds", "How far this process's clock is ahead of the database's, by which all is decided"
)

OUTBOX_PENDING = Gauge("unitpool_outbox_pending", "Records written in a transaction and not yet acknowledged by Kafka")
OUTBOX_OLDEST_SECONDS = Gauge("unitpool_outbox_oldest_seconds", "How long the oldest of them has waited")
OUTBOX_SET_ASIDE = Gauge(
    "unitpool_outbox_set_aside", "Keys and topics whose outbox rows Kafka refuses, and which wait to be tried again"
)
OUTBOX_PUBLISHED = Counter("unitpool_outbox_published_total", "Records that Kafka acknowledged", ["topic"])

COMMANDS = Counter(
    "unitpool_commands_total",
    "Commands by what became of them: accepted, refused, repeated, denied",
    ["command", "outcome"],
)
COMMAND_SECONDS = Histogram(
    "unitpool_command_seconds", "From a command's arrival in Kafka to its committed outcome", buckets=_FAST
)

HTTP_REQUESTS = Counter("unitpool_http_requests_total", "HTTP requests answered", ["route", "status"])
HTTP_SECONDS = Histogram("unitpool_http_request_seconds", "Time to answer an HTTP request", ["route"], buckets=_FAST)

DEAD_LETTER_REASONS = ("handler_error", "malformed", "unsupported_type", "too_large")
COMMAND_REASONS = ("unsigned", "unknown_key", "forged", "no_actor")
COMMAND_OUTCOMES = ("accepted", "refused", "repeated", "denied")
LOSS_REASONS = ("expired", "skipped")
HTTP_STATUSES = ("200", "401", "404", "422", "500", "503")
"""Those that a rise is looked for of."""


def begin_topic(topic: str) -> None:
    """Have what is counted of a topic stand at 0: Prometheus does not see the rise of a series that begins at 1."""
    for counter in (BATCH_RECORDS, BATCH_RETRIES, FETCH_ERRORS, RECORDS_FETCHED):
        counter.labels(topic=topic)
    for reason in DEAD_LETTER_REASONS:
        DEAD_LETTERS.labels(topic=topic, reason=reason)
    for reason in LOSS_REASONS:
        RECORDS_LOST.labels(topic=topic, reason=reason)
    for gauge in (SET_ASIDE_KEYS, SET_ASIDE_RECORDS, CONSUMER_HALTED, CONSUMER_LAG_RECORDS, CONSUMER_LAG_SECONDS):
        gauge.labels(topic=topic)


def begin_commands(topic: str, commands: Iterable[str]) -> None:
    """The same of the commands of a topic, by their names."""
    for reason in COMMAND_REASONS:
        DEAD_LETTERS.labels(topic=topic, reason=reason)
    for command in commands:
        for outcome in COMMAND_OUTCOMES:
            COMMANDS.labels(command=command, outcome=outcome)


def begin_routes(routes: Iterable[str]) -> None:
    """The same of the requests to these routes, as they were declared."""
    for route in routes:
        for status in HTTP_STATUSES:
            HTTP_REQUESTS.labels(route=route, status=status)
