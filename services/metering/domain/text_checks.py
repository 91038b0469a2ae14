"""Text that can be stored in PostgreSQL and sent as UTF-8."""

from collections.abc import Iterable


def check_text(texts: Iterable[object]) -> None:
    """Refuse texts with NUL or unpaired surrogates.

    Values that are not text are ignored.

    Raises:
        ValueError: (or its kind ``UnicodeEncodeError``) with the fault.
    """
    for text in texts:
        if isinstance(text, str):
            if "\0" in text:
                raise ValueError("a text holds the character NUL")
            text.encode()
