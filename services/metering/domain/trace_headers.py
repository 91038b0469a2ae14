"""What ties a record of usage to the HTTP request that brought it: headers of the record, beside the event."""

CORRELATION_ID = "unitpool-correlation-id"
TRACE_PARENT = "traceparent"
