"""``docs/schema`` equals the migrated databases, table by table, on any machine."""

import re
from pathlib import Path

import pytest

from deploy.local import schema
from deploy.local.databases import SERVICES
from shared.events.topics import ServiceName
from tests.conftest import MakeDatabase
from tests.support.servers.databases import as_owner, connect

PLANTED = """
CREATE TABLE zebra (id bigint PRIMARY KEY, title text DEFAULT 'SET default_x = 1;' NOT NULL);
CREATE TABLE aardvark (id bigint GENERATED ALWAYS AS IDENTITY, zebra bigint REFERENCES zebra);
CREATE INDEX by_zebra ON aardvark (zebra) WHERE zebra > 0;
CREATE VIEW both_animals AS SELECT id FROM zebra;
COMMENT ON COLUMN aardvark.zebra IS 'its friend';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Name: what pg_dump writes before each entry; Type: TABLE; Schema: none
    PERFORM FROM public.zebra;
    RETURN NULL;
END
$$;
CREATE TRIGGER refuses BEFORE DELETE ON zebra FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("service", SERVICES)
async def test_the_committed_schema_equals_the_migrated_database(service: ServiceName, database: MakeDatabase) -> None:
    committed = schema.FOLDER / f"{service}.sql"
    made = schema.schema_of(service, as_owner(await database(service)))
    text = committed.read_text(encoding="utf-8") if committed.exists() else ""
    assert text == made, f"docs/schema/{service}.sql is not what the migrations make: run `make schema` and commit it"


def test_there_is_one_page_for_each_service() -> None:
    assert {path.name for path in schema.FOLDER.iterdir()} == {f"{service}.sql" for service in SERVICES}


async def test_every_kind_of_planted_object_is_in_the_schema_with_its_table(database: MakeDatabase) -> None:
    owner = as_owner(await database("alerts"))
    before = schema.schema_of("alerts", owner)
    async with connect(owner) as connection:
        await connection.execute(PLANTED)
    planted = schema.schema_of("alerts", owner)
    assert planted != before
    parts = planted.split("\n\n")
    first = parts.index(next(part for part in parts if part.startswith("CREATE TABLE aardvark (")))
    assert [part.split("\n")[0].split("(")[0].strip() for part in parts[first : first + 5]] == [
        "CREATE TABLE aardvark",
        "COMMENT ON COLUMN aardvark.zebra IS 'its friend';",
        "ALTER TABLE ONLY aardvark",
        "CREATE INDEX by_zebra ON aardvark USING btree",
        "ALTER TABLE aardvark ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY",
    ]
    zebra = planted.index("CREATE TABLE zebra (")
    assert "title text DEFAULT 'SET default_x = 1;'::text NOT NULL" in planted[zebra:]
    assert planted.index("CREATE TRIGGER refuses BEFORE DELETE ON zebra") > planted.index("PRIMARY KEY (id)", zebra)
    assert "CREATE VIEW both_animals AS" in planted
    body = planted[planted.index("CREATE FUNCTION refuse()") : planted.index("CREATE TABLE")]
    assert "    PERFORM FROM public.zebra;\n    RETURN NULL;\nEND\n$$;" in body, "as it was written"


async def test_a_page_does_not_depend_on_server_role_or_time(database: MakeDatabase) -> None:
    addresses = [as_owner(await database("metering")) for _ in range(2)]
    first, second = (schema.schema_of("metering", one) for one in addresses)
    assert first == second
    assert not re.search(r"test_metering|Dumped|restrict [A-Za-z0-9]{20}|search_path',|GRANT|OWNER", first)


def test_written_pages_equal_the_committed_ones(tmp_path: Path) -> None:
    schema.write(tmp_path)
    for service in SERVICES:
        assert (tmp_path / f"{service}.sql").read_bytes() == (schema.FOLDER / f"{service}.sql").read_bytes()
