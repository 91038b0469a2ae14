"""Text that can be kept."""

from collections.abc import Iterable


def check_text(texts: Iterable[object]) -> None:
    """Refuse text that cannot be stored or sent: NUL, and halves of surrogate pairs. What is no text is passed over.

    Raises:
        ValueError: (or its kind ``UnicodeEncodeError``) with the fault.
    """
    for text in texts:
        if isinstance(text, str):
            if "\0" in text:
                raise ValueError("a text holds the character NUL")
            text.encode()
