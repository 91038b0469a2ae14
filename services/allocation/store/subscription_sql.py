"""The statements that read or write a subscription with its parts.

Each takes one round trip to the server.

The rows of the parts are decoded beside their tables: ``terms.term_of``, ``lots.lot_of``, ``allocations.product_of``,
``consumption.measured_of``.
"""

_TERMS = "SELECT ROW(starts_at, ends_at, rates_locked_at) FROM terms WHERE subscription = s.id ORDER BY starts_at"
_LOTS = """
SELECT ROW(id, units, starts_at, ends_at, order_reference, purchased_at, voided_at, void_reason, price)
FROM lots WHERE subscription = s.id ORDER BY place
"""
_ALLOCATIONS = """
SELECT ROW(
    a.product, a.units, a.policy, a.restricted, a.subscribed_at, a.last_lowered_at, a.over_since, a.ended_at, a.earlier,
    p.retired_at IS NOT NULL
)
FROM allocations AS a
JOIN products AS p ON p.id = a.product
WHERE a.subscription = s.id
ORDER BY a.place
"""
"""Columns of an allocation, in order.

The last one says whether the vendor has retired the product.
"""
_GRANTS = """
SELECT ROW(g.person, g.role)
FROM grants AS g
JOIN people AS p ON p.id = g.person
WHERE g.subscription = s.id AND p.enabled AND p.removed_at IS NULL
ORDER BY g.person, g.role
"""
_CONSUMPTION = """
SELECT ROW(product, window_start, window_end, revision, level, burned_down) FROM consumption WHERE subscription = s.id
"""
_PARTS = f"""
    ARRAY({_TERMS}) AS terms,
    ARRAY({_LOTS}) AS lots,
    ARRAY({_ALLOCATIONS}) AS allocations,
    ARRAY({_GRANTS}) AS grants,
    ARRAY({_CONSUMPTION}) AS consumption,
    d.due_at,
    d.marks
"""
LOAD_PARTS = f"""
SELECT {_PARTS} FROM subscriptions AS s JOIN due_work AS d ON d.subscription = s.id WHERE s.id = $1
"""  # noqa: S608
"""The parts of the subscription $1, of one snapshot."""
LOCK = f"""
SELECT
    s.id, s.account, s.name, s.model, s.unit_label, s.window_days, s.primary_contact,
    s.rebalance_every_days, s.rebalance_scope, s.rebalanced_at, s.cancelled_at, s.settled_at, s.exhausted, s.version,
    a.flex_enabled,
    s.xmin = (SELECT seen.xmin FROM subscriptions AS seen WHERE seen.id = s.id) AS is_newest,
    {_PARTS}
FROM subscriptions AS s
JOIN accounts AS a ON a.id = s.account
JOIN due_work AS d ON d.subscription = s.id
WHERE s.id = ANY ($1)
ORDER BY s.id
FOR NO KEY UPDATE OF s
"""  # noqa: S608
"""The rows $1, locked, with their parts.

The parts are those of before the lock was taken; ``is_newest`` says that the locked row is of the same snapshot. Every
transaction that changes a part changes the row too, except that consumption is written without it.
"""
TRY_LOCK = f"{LOCK.rstrip()} SKIP LOCKED"
_SAVE_ALLOCATIONS = """
INSERT INTO allocations (
    subscription, product, place, units, policy, restricted, subscribed_at, last_lowered_at, over_since, ended_at
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::boolean[],
    $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[]
)
ON CONFLICT (subscription, product) DO UPDATE
SET units = EXCLUDED.units, policy = EXCLUDED.policy, restricted = EXCLUDED.restricted,
    subscribed_at = EXCLUDED.subscribed_at, last_lowered_at = EXCLUDED.last_lowered_at,
    over_since = EXCLUDED.over_since, ended_at = EXCLUDED.ended_at
"""
_SAVE = f"""
allocated AS ({_SAVE_ALLOCATIONS}), saved AS (
    UPDATE subscriptions AS s
    SET model = new.model, rebalanced_at = new.rebalanced_at, cancelled_at = new.cancelled_at,
        settled_at = new.settled_at, exhausted = new.exhausted, version = new.version
    FROM unnest(
        $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[],
        $16::boolean[], $17::bigint[]
    ) AS new (id, model, rebalanced_at, cancelled_at, settled_at, exhausted, version)
    WHERE s.id = new.id
)
"""  # noqa: S608
SAVE = f"WITH {_SAVE} SELECT"
"""Writes rows, and those of their allocations that have changed.

Its parameters are ``subscriptions.saved_columns``.
"""
SAVE_PLANS = f"""
WITH {_SAVE}, kept AS (
    INSERT INTO plans (
        subscription, version, applied_at, actor, command_id, kind, starts_clock, accept_overage, override_reason
    )
    SELECT * FROM unnest(
        $11::text[], $17::bigint[], $18::timestamptz[], $19::text[], $20::uuid[],
        $21::text[], $22::boolean[], $23::boolean[], $24::text[]
    )
)
INSERT INTO plan_changes (subscription, version, product, units_before, units_after)
SELECT * FROM unnest($25::text[], $26::bigint[], $27::text[], $28::bigint[], $29::bigint[])
"""  # noqa: S608
"""Writes rows like ``SAVE``, with the plans that changed them.

Its parameters are those of ``SAVE``, then those of ``plans.save_plans``.
"""
