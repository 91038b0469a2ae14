"""What is freed only when the garbage collector comes: with batches in it, that is most of a process's memory."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def freed_at_once(kind: type) -> Iterator[None]:
    """Assert that no ``kind`` of what was made within is left in a cycle."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each for each in gc.garbage if isinstance(each, kind)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left, f"{len(left)} of {kind.__name__} wait for the garbage collector: what refers to them is in a cycle"
