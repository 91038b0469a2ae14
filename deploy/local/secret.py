"""Generated secrets of the local stack, in files that only their owner may read."""

import os
import secrets
from pathlib import Path


def load_or_create(path: Path, length_bytes: int = 24) -> str:
    """Load the secret in ``path``; generate and write it at the first call."""
    try:
        return path.read_text()
    except FileNotFoundError:
        value = secrets.token_urlsafe(length_bytes)
        write_private(path, value)
        return value


def write_private(path: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)
