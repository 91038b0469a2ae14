"""Kafka headers of a usage record that name the HTTP request which sent it.

They are not part of the event.
"""

CORRELATION_ID = "unitpool-correlation-id"
TRACE_PARENT = "traceparent"
