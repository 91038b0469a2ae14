"""The parameters that several reports have."""

from typing import Final

from services.reporting.domain.reports.definitions import Parameter

SUBSCRIPTION: Final = Parameter("subscription", "Only this subscription; without it, all that the person may see.")
ACCOUNT: Final = Parameter("account", "Only this account; without it, all that the person may see.")
PRODUCT: Final = Parameter("product", "Only this product; without it, all products.")
METER: Final = Parameter("meter", "Only this meter; without it, all meters.")
FROM: Final = Parameter("from", "Only from this instant or day on; without it, from the oldest row that is retained.")
TO: Final = Parameter("to", "Only before this instant, or until the end of this day; without it, until the newest row.")
ZONE: Final = Parameter("tz", "Time zone of the days, such as `Europe/Berlin`; `UTC` without it.")
FLAVOUR: Final = Parameter(
    "flavour",
    "Text cells of CSV: `raw` (the default) changes nothing, `spreadsheet` puts `'` before text that begins a formula.",
)
OF_SUBSCRIPTIONS: Final = (SUBSCRIPTION, ACCOUNT)
