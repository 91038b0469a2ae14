-- squawk-ignore-file adding-field-with-default, ban-drop-default, constraint-missing-not-valid, disallowed-unique-constraint
-- squawk-ignore-file adding-foreign-key-constraint, adding-not-nullable-field, ban-drop-column, ban-drop-constraint
-- squawk-ignore-file adding-serial-primary-key-field, ban-drop-not-null
-- (Three small tables are changed while nothing else of this service runs: no lock is in anybody's way.)
-- A person is an id, whatever becomes of address and name. Version 0: all are published again, on the topic of people.
ALTER TABLE people ADD COLUMN id text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', '');
ALTER TABLE people ALTER COLUMN id DROP DEFAULT;
-- The key with which texts of a person are sealed.
ALTER TABLE people ADD COLUMN text_key text NOT NULL
    DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
ALTER TABLE people ALTER COLUMN text_key DROP DEFAULT;
UPDATE people SET version = 0;

-- Vendor operators, and others who act in accounts that they do not belong to, have no account.
ALTER TABLE role_members DROP CONSTRAINT role_members_account_email_fkey;
ALTER TABLE people DROP CONSTRAINT people_pkey, ALTER COLUMN account DROP NOT NULL;
ALTER TABLE people ADD PRIMARY KEY (id);
ALTER TABLE people ADD CONSTRAINT people_account_email UNIQUE NULLS NOT DISTINCT (account, email);

-- Whoever has a role is named by that id.
ALTER TABLE subscriptions ADD COLUMN primary_contact text REFERENCES people (id);
UPDATE subscriptions AS s SET primary_contact = p.id
FROM people AS p WHERE p.account = s.account AND p.email = s.primary_email;
ALTER TABLE subscriptions ALTER COLUMN primary_contact SET NOT NULL;
ALTER TABLE subscriptions DROP COLUMN primary_email, DROP COLUMN primary_name;
CREATE INDEX subscriptions_primary_contact ON subscriptions (primary_contact);

ALTER TABLE grants ADD COLUMN person text REFERENCES people (id);
UPDATE grants AS g SET person = p.id
FROM subscriptions AS s JOIN people AS p ON p.account = s.account
WHERE s.id = g.subscription AND p.email = g.email;
ALTER TABLE grants DROP CONSTRAINT grants_pkey, DROP COLUMN email, ALTER COLUMN person SET NOT NULL;
ALTER TABLE grants ADD PRIMARY KEY (subscription, person, role);
CREATE INDEX grants_person ON grants (person);

ALTER TABLE role_members ADD COLUMN person text REFERENCES people (id);
UPDATE role_members AS m SET person = p.id FROM people AS p WHERE p.account = m.account AND p.email = m.email;
ALTER TABLE role_members DROP CONSTRAINT role_members_pkey, DROP COLUMN email, ALTER COLUMN person SET NOT NULL;
ALTER TABLE role_members ADD PRIMARY KEY (account, role, person);
CREATE INDEX role_members_person ON role_members (person);
