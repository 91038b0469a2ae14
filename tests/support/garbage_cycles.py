"""A check for reference cycles, which free the memory of batches late."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def freed_at_once(kind: type) -> Iterator[None]:
    """Assert that no ``kind`` made in the block is left in a reference cycle."""
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
    assert not left, f"{len(left)} of {kind.__name__} are left in reference cycles until the garbage collector runs"
