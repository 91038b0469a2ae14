-- Nothing that was read before can be understood any more, and its topics cannot be read again.
DO $$
BEGIN
    IF EXISTS (SELECT FROM subscriptions) THEN
        RAISE EXCEPTION 'This database is of a release in which people had no ids, and its topics cannot be read any '
            'more. Create the databases and topics of the installation anew (the local one: make reset).';
    END IF;
END $$;
