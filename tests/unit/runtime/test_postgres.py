"""Transient errors of the database, and connection strings without secrets."""

import asyncpg
import pytest

from shared.runtime.postgres.pool import is_transient_database_error, location_of


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.SerializationError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.DiskFullError(),
        asyncpg.TooManyConnectionsError(),
        asyncpg.AdminShutdownError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.QueryCanceledError(),
        asyncpg.LockNotAvailableError(),
        asyncpg.ReadOnlySQLTransactionError(),
        asyncpg.InvalidCachedStatementError(),
        asyncpg.InternalClientError("cannot switch to state 12"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_error_is_transient(error: Exception) -> None:
    assert is_transient_database_error(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError(),
        asyncpg.UndefinedTableError(),
        asyncpg.NumericValueOutOfRangeError(),
        asyncpg.CharacterNotInRepertoireError(),
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.DataError("invalid input for query argument $1"),
        FileNotFoundError(),
        ValueError(),
    ],
    ids=lambda error: f"{type(error).__name__}",
)
def test_the_error_is_not_transient(error: Exception) -> None:
    assert not is_transient_database_error(error)


def test_the_location_of_a_database_has_neither_user_nor_password() -> None:
    assert location_of("postgresql://user:secret@db.example:6000/metering") == "db.example:6000/metering"
    assert location_of("postgresql://[bad") == "the database"
