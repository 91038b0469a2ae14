-- squawk-ignore-file adding-not-nullable-field
-- (the log is locked by this migration anyway, for the chaining of what is there)

-- The audit log as hash chains, one per account, that nobody but the owner of these tables can change.

-- The head of each chain: how many records it has, and the hash of the last. So cutting off the newest shows, too.
CREATE TABLE audit_chains (
    account text PRIMARY KEY,
    records bigint NOT NULL CHECK (records >= 0),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);

-- recorded: the record's JSON as it was taken in, which is what the hash is of; record and the other columns are read
-- out of it. chain_sequence: 1, 2, 3, ... within the account. previous_hash: that of the record before, or 32 zero bytes.
ALTER TABLE audit_log
    ADD COLUMN recorded text,
    ADD COLUMN chain_sequence bigint,
    ADD COLUMN previous_hash bytea,
    ADD COLUMN hash bytea;

-- SHA-256 of: the hash before (32 bytes), the place in the chain (8 bytes), then id, source and record, each as its length
-- in bytes (4 bytes) and its UTF-8. Numbers are big-endian. Verified in services/reporting/domain/audit_chain.py.
CREATE FUNCTION audit_hash(previous_hash bytea, chain_sequence bigint, event_id text, source text, recorded text)
RETURNS bytea LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(
        previous_hash || int8send(chain_sequence)
        || int4send(octet_length(convert_to(event_id, 'UTF8'))) || convert_to(event_id, 'UTF8')
        || int4send(octet_length(convert_to(source, 'UTF8'))) || convert_to(source, 'UTF8')
        || int4send(octet_length(convert_to(recorded, 'UTF8'))) || convert_to(recorded, 'UTF8')
    )
$$;

-- What was logged before there were chains: in the order of arrival, the text that the database has of it.
DO $$
DECLARE
    old record;
    chain audit_chains;
BEGIN
    FOR old IN SELECT sequence, account, event_id, source, record::text AS recorded
               FROM audit_log ORDER BY account, sequence
    LOOP
        IF chain.account IS DISTINCT FROM old.account THEN
            IF chain.account IS NOT NULL THEN
                INSERT INTO audit_chains VALUES (chain.*);
            END IF;
            chain := (old.account, 0, decode(repeat('00', 32), 'hex'));
        END IF;
        chain.records := chain.records + 1;
        UPDATE audit_log SET
            recorded = old.recorded,
            chain_sequence = chain.records,
            previous_hash = chain.hash,
            hash = audit_hash(chain.hash, chain.records, old.event_id, old.source, old.recorded)
        WHERE sequence = old.sequence
        RETURNING hash INTO chain.hash;
    END LOOP;
    IF chain.account IS NOT NULL THEN
        INSERT INTO audit_chains VALUES (chain.*);
    END IF;
END
$$;

ALTER TABLE audit_log
    ALTER COLUMN recorded SET NOT NULL,
    ALTER COLUMN chain_sequence SET NOT NULL,
    ALTER COLUMN previous_hash SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL;
CREATE UNIQUE INDEX audit_of_chain ON audit_log (account, chain_sequence);

-- The only way to add to the log: events in the order of their arrival, each once, to the end of their accounts' chains.
-- It runs as the owner of the tables, which the service may only read. Every head that the batch needs is made or locked
-- first, by one statement and in the order of the accounts: so one batch at a time appends to a chain, batches of
-- different accounts do not wait for each other, and no two ever wait for each other in a circle.
CREATE FUNCTION append_audit(event_ids text[], sources text[], records text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    new record;
    chain audit_chains;
BEGIN
    INSERT INTO audit_chains
    SELECT DISTINCT one::jsonb ->> 'account', 0, decode(repeat('00', 32), 'hex') FROM unnest(records) AS one ORDER BY 1
    ON CONFLICT (account) DO UPDATE SET account = excluded.account;

    FOR new IN SELECT event_id, source, recorded, recorded::jsonb AS record
               FROM unnest(event_ids, sources, records) WITH ORDINALITY AS batch (event_id, source, recorded, place)
               ORDER BY place
    LOOP
        SELECT * INTO STRICT chain FROM audit_chains WHERE account = new.record ->> 'account';
        INSERT INTO audit_log (
            event_id, source, at, account, subscription, actor, action, outcome, record,
            recorded, chain_sequence, previous_hash, hash
        ) VALUES (
            new.event_id, new.source, (new.record ->> 'at')::timestamptz, chain.account, new.record ->> 'subscription',
            new.record ->> 'actor', new.record ->> 'action', new.record ->> 'outcome', new.record,
            new.recorded, chain.records + 1, chain.hash,
            audit_hash(chain.hash, chain.records + 1, new.event_id, new.source, new.recorded)
        )
        ON CONFLICT (event_id) DO NOTHING
        RETURNING hash INTO chain.hash;
        IF FOUND THEN
            UPDATE audit_chains SET records = chain.records + 1, hash = chain.hash WHERE account = chain.account;
        END IF;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION append_audit FROM PUBLIC;
