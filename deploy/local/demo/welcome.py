"""The text that the demo prints when it is ready.

It names addresses, people and first commands.
"""

from datetime import UTC, datetime

from deploy.local.environment import public_url
from deploy.local.layout import Layout
from deploy.local.people import PEOPLE

_TEXT = """the demo is ready

  The Subscription page   {page}/
                          sign in as Paula Prime, the primary contact of Acme (no password)
  The API                 {page}/v1/docs
  Metrics                 {page}/metrics, and allocation {allocation}, metering {metering}, alerts {alerts}
  Kafka                   localhost:{kafka}, topic usage.events
  PostgreSQL              localhost:{postgres}, passwords in {secrets}

  People to sign in as (at {page} and with make token):
{people}

  Read the subscription:
    curl -H "Authorization: Bearer $(make -s token AS=primary)" {page}/v1/subscriptions/{subscription}

  Report usage as a product platform (sent twice, it counts once):
    KEY=$(make -s ingest-key PRODUCT=exposure-scan)
    curl -H "Authorization: Bearer $KEY" -H "Content-Type: application/cloudevents+json" \\
      http://localhost:{metering}/v1/usage -d '{{"specversion": "1.0", "id": "try-1",
      "source": "/platforms/exposure-scan", "type": "unitpool.platform.usage.recorded.v1",
      "subject": "{subscription}", "time": "{now}",
      "data": {{"product": "exposure-scan", "meter": "host", "quantity": 1, "resource": "my-host"}}}}'

  Ctrl-C stops everything; `make reset` deletes the data.
"""


def welcome(layout: Layout, subscription: str) -> str:
    """Return the text for this stack and a subscription's id."""
    ports = layout.ports
    return _TEXT.format(
        page=public_url(layout),
        allocation=ports.allocation,
        metering=ports.metering,
        alerts=ports.alerts,
        kafka=ports.kafka,
        postgres=ports.postgres,
        secrets=layout.secrets,
        subscription=subscription,
        now=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        people="\n".join(f"    {one.who:<10} {one.email:<24} {one.does}" for one in PEOPLE),
    )
