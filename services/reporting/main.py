"""Reporting's composition root: builds the parts of a process and connects them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from services.reporting import handlers
from services.reporting.api.accounts import accounts_router
from services.reporting.api.alerts import alerts_router
from services.reporting.api.answers.statements import encode_statement
from services.reporting.api.applications import applications_router
from services.reporting.api.catalogue import catalogue_router
from services.reporting.api.contracts import contracts_router
from services.reporting.api.documents import documents_router
from services.reporting.api.erasures import erasures_router
from services.reporting.api.exports import ExportContext, exports_router
from services.reporting.api.grants import grants_router
from services.reporting.api.ingest_keys import ingest_keys_router
from services.reporting.api.insights import insights_router
from services.reporting.api.people import people_router
from services.reporting.api.plans import plans_router
from services.reporting.api.prices import prices_router
from services.reporting.api.records import records_router
from services.reporting.api.reports import reports_router
from services.reporting.api.resources import resources_router
from services.reporting.api.routing import ApiContext
from services.reporting.api.statements import statements_router
from services.reporting.api.stream import stream_router
from services.reporting.api.subscriptions import subscriptions_router
from services.reporting.api.usage import usage_router
from services.reporting.api.usage_books import usage_books_router
from services.reporting.api.usage_summaries import usage_summaries_router
from services.reporting.application import Application
from services.reporting.auth import ClaimNames, TokenVerifier, TrustedIssuer
from services.reporting.background import UPKEEP, Upkeep
from services.reporting.commands import Commands
from services.reporting.exports.downloads import Downloads
from services.reporting.exports.jobs import ExportJobs
from services.reporting.exports.process import worker_command
from services.reporting.exports.statements import Statements
from services.reporting.exports.storage.opening import open_storage
from services.reporting.insights.command import insights_command
from services.reporting.insights.daily_run import INSIGHTS, DailyRun
from services.reporting.live_changes import LiveChanges
from services.reporting.pages.installation import install
from services.reporting.queries.accounts import AccountQueries
from services.reporting.queries.catalogue import CatalogueQueries
from services.reporting.queries.erasures import ErasureQueries
from services.reporting.queries.insights import InsightQueries
from services.reporting.queries.page_context import PageContexts
from services.reporting.queries.records import RecordQueries
from services.reporting.queries.report_sources.offered import ReportQueries
from services.reporting.queries.resources import ResourceQueries
from services.reporting.queries.subscriptions import SubscriptionQueries
from services.reporting.queries.usage_books import UsageBookQueries
from services.reporting.queries.usage_periods import UsageQueries
from services.reporting.queries.usage_summaries import UsageSummaryQueries
from services.reporting.queries.vendor_operators import VendorOperators
from services.reporting.settings import ReportingSettings
from services.reporting.store.notifications import CHANNEL
from services.reporting.subscribers import on_audit, on_consumption, on_days, on_people
from services.reporting.verification.command import COMMAND as VERIFY_AUDIT
from shared.events.topics import (
    ALERTS_EVENTS_TOPIC,
    ALLOCATION_EVENTS_TOPIC,
    ALLOCATION_PEOPLE_TOPIC,
    AUDIT,
    CONSUMPTION_TOPIC,
    DAILY_USAGE_TOPIC,
    METERING_EVENTS_TOPIC,
)
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.set_aside_work_retries import SetAsideWorkRetries
from shared.runtime.http.caller_limits import RateLimit, Shares
from shared.runtime.postgres.listen import keep_listening
from shared.runtime.postgres.pool import connect
from shared.runtime.process.clock import Clock
from shared.runtime.service.command_line import ReadModel, Runtime, ServiceDefinition, SettingsError, run

NAME: Final = "reporting"
CONSUMPTION_RECORDS = 2000
READ_MODEL = ReadModel(
    tables=(
        "accounts",
        "products",
        "product_versions",
        "subscriptions",
        "subscription_versions",
        "subscription_people",
        "people",
        "erasures",
        "roles",
        "price_lists",
        "consumption",
        "usage_days",
        "usage_hours",
        "allocation_changes",
        "alerts",
        "channels",
        "deliveries",
        "ingest_keys",
        "quarantine",
        "quarantine_replays",
        "usage_books",
        "outcomes",
    ),
    topics=(
        ALLOCATION_EVENTS_TOPIC,
        ALLOCATION_PEOPLE_TOPIC,
        CONSUMPTION_TOPIC,
        DAILY_USAGE_TOPIC,
        ALERTS_EVENTS_TOPIC,
        METERING_EVENTS_TOPIC,
    ),
)


def build(runtime: Runtime[ReportingSettings]) -> None:
    """Register the consumers, routes and tasks of one process.

    Raises:
        SettingsError: there are no keys to sign commands with.
    """
    if not runtime.settings.signing_keys:
        raise SettingsError("UNITPOOL_COMMAND_KEYS is not set: no command could be signed")
    _add_consumers(runtime)
    live = LiveChanges()
    runtime.on_hang_up(live.stop)
    application = new_application(runtime, live)
    claims = new_claim_names(runtime.settings)
    tokens = new_token_verifier(runtime.settings, claims, runtime.database_clock)
    _add_background(runtime, live)
    add_api(runtime, application, tokens)
    install(runtime.api, application, pool=runtime.pool, settings=runtime.settings, tokens=tokens, claims=claims)


def _add_consumers(runtime: Runtime[ReportingSettings]) -> None:
    runtime.consume(ALLOCATION_EVENTS_TOPIC, handlers.ALLOCATION)
    runtime.consume_batch(ALLOCATION_PEOPLE_TOPIC, on_people, max_records=runtime.settings.max_records)
    runtime.consume_batch(CONSUMPTION_TOPIC, on_consumption, max_records=CONSUMPTION_RECORDS)
    runtime.consume_batch(DAILY_USAGE_TOPIC, on_days, max_records=CONSUMPTION_RECORDS)
    runtime.consume(ALERTS_EVENTS_TOPIC, handlers.ALERTS)
    runtime.consume(METERING_EVENTS_TOPIC, handlers.METERING)
    runtime.consume_batch(AUDIT, on_audit, max_records=runtime.settings.max_records)


def new_application(runtime: Runtime[ReportingSettings], live: LiveChanges) -> Application:
    """Build the parts that the API and the page share."""
    queries = SubscriptionQueries(runtime.pool, runtime.clock)
    commands = Commands(
        runtime.pool,
        runtime.transaction,
        live,
        queries,
        keys=runtime.settings.signing_keys,
        wait_seconds=runtime.settings.command_wait_seconds,
        writes_per_minute=runtime.settings.writes_per_minute,
        denied_per_minute=runtime.settings.denied_writes_per_minute,
    )
    return Application(
        queries,
        PageContexts(runtime.pool, runtime.clock),
        AccountQueries(runtime.pool),
        CatalogueQueries(runtime.pool, runtime.clock),
        RecordQueries(runtime.pool),
        commands,
        live,
        runtime.clock,
        VendorOperators(runtime.pool),
        Shares(runtime.settings.max_streams, runtime.settings.max_streams_per_person),
        RateLimit(runtime.settings.failed_sign_ins_per_minute),
    )


def new_claim_names(settings: ReportingSettings) -> ClaimNames:
    """Build the names of the claims that identify a person, from the settings."""
    return ClaimNames(
        settings.email_claim,
        settings.name_claim,
        settings.roles_claim,
        verification_may_be_absent=settings.email_verified_may_be_absent,
    )


def new_token_verifier(settings: ReportingSettings, claims: ClaimNames, clock: Clock) -> TokenVerifier:
    """Build the verifier of bearer tokens.

    ``clock``: the database's, which all replicas share.
    """
    trust = TrustedIssuer(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        leeway_seconds=settings.token_leeway_seconds,
        keys_seconds=settings.issuer_keys_seconds,
        refresh_seconds=settings.issuer_refresh_seconds,
        timeout_seconds=settings.issuer_timeout_seconds,
    )
    return TokenVerifier(trust, claims, lambda: clock().timestamp())


def add_api(runtime: Runtime[ReportingSettings], application: Application, tokens: TokenVerifier) -> None:
    """Add the routes under ``/v1``."""
    context = ApiContext(application, tokens)
    context.install(runtime.api)
    for router in (
        records_router(context),
        accounts_router(context),
        people_router(context),
        erasures_router(context, ErasureQueries(runtime.pool)),
        catalogue_router(context),
        applications_router(context),
        prices_router(context),
        subscriptions_router(context),
        usage_router(context, UsageQueries(runtime.pool, runtime.clock)),
        usage_summaries_router(UsageSummaryQueries(runtime.pool, runtime.clock), runtime.clock),
        contracts_router(context),
        grants_router(context),
        plans_router(context),
        alerts_router(context),
        insights_router(InsightQueries(runtime.pool, runtime.clock)),
        statements_router(context, _new_statements(runtime)),
        stream_router(context),
        ingest_keys_router(context, runtime.settings.key_overlap_seconds),
        usage_books_router(context, UsageBookQueries(runtime.pool)),
        reports_router(ReportQueries(runtime.pool)),
        exports_router(context, new_exports(runtime)),
        resources_router(_resource_queries(runtime)),
        documents_router(runtime.api),
    ):
        runtime.api.include_router(router)


def _new_statements(runtime: Runtime[ReportingSettings]) -> Statements:
    return Statements(
        runtime.pool,
        runtime.transaction,
        encode=encode_statement,
        clock=runtime.clock,
        per_minute=runtime.settings.statements_per_minute,
    )


def new_exports(runtime: Runtime[ReportingSettings]) -> ExportContext:
    """Build what the routes of exports need."""
    settings = runtime.settings
    return ExportContext(
        jobs=ExportJobs(runtime.pool, runtime.transaction, clock=runtime.clock, keys=settings.signing_keys),
        downloads=Downloads(
            runtime.pool,
            runtime.transaction,
            open_storage(settings.export_storage, endpoint_url=settings.export_endpoint_url),
            clock=runtime.clock,
            keys=settings.signing_keys,
            per_minute=settings.downloads_per_minute,
        ),
        clock=runtime.clock,
        keys=settings.signing_keys,
        public_url=settings.public_url,
        requests=RateLimit(settings.export_requests_per_minute),
    )


def _resource_queries(runtime: Runtime[ReportingSettings]) -> ResourceQueries:
    settings = runtime.settings
    return ResourceQueries(
        runtime.pool,
        runtime.clock,
        metering_url=settings.metering_url,
        keys=settings.signing_keys,
        timeout_seconds=settings.metering_timeout_seconds,
    )


def _add_background(runtime: Runtime[ReportingSettings], live: LiveChanges) -> None:
    settings = runtime.settings

    async def listen() -> None:
        await keep_listening(
            lambda: connect(settings, f"{NAME}-listen"), CHANNEL, live.apply_notification, live.recheck_all
        )

    aside = SetAside(UPKEEP)
    upkeep = Upkeep(runtime.deciding, runtime.clock, aside, every_seconds=settings.upkeep_seconds)
    forecasts_aside = SetAside(INSIGHTS)
    forecasts = DailyRun(
        runtime.deciding,
        runtime.clock,
        forecasts_aside,
        at=settings.insights_at,
        poll_seconds=settings.insights_poll_seconds,
    )
    asides = (aside, forecasts_aside)
    shown = SetAsideWorkRetries(runtime.transaction, {}, asides, delay_max_seconds=settings.retry_delay_max_seconds)
    runtime.background("listen", listen)
    runtime.background(UPKEEP, upkeep.run)
    runtime.background(INSIGHTS, forecasts.run)
    runtime.background("set aside", shown.run)
    runtime.health.add("set aside", shown.check)


def definition() -> ServiceDefinition[ReportingSettings]:
    """Define the service for the runtime."""
    return ServiceDefinition(
        name=NAME,
        settings_type=ReportingSettings,
        build=build,
        migrations=Path(__file__).with_name("migrations"),
        read_model=READ_MODEL,
        read_only=("audit_log", "audit_chains"),
        commands=(VERIFY_AUDIT, insights_command(definition), worker_command(definition)),
        api_options={
            "title": "Unitpool",
            "version": "1",
            "description": "Pools of units: what was bought, allocated and consumed, and plans that change it.",
            "openapi_url": "/v1/openapi.json",
            "docs_url": None,
            "redoc_url": None,
        },
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``python -m services.reporting``."""
    return run(definition(), argv)
