"""Work done in threads a block ahead of whoever uses it."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_blocks(work: Callable[[Item], Result], items: Iterable[Item], *, size: int) -> Iterator[list[Result]]:
    """`work(item)` for every item, in order, in lists of `size`; while one is in use, the next is being made.

    The items themselves are taken by the caller's thread. The first exception in their order is raised in its turn;
    what has not begun by then is left undone, and no thread outlives the iterator.
    """
    waiting_items = iter(items)
    first = list(islice(waiting_items, size))
    if len(first) < min(2, size):
        # Starting threads for one picture takes longer than decoding it.
        yield from ([work(item)] for item in first)
        return
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        waiting = [pool.submit(work, item) for item in first]
        while waiting:
            following = [pool.submit(work, item) for item in islice(waiting_items, size)]
            yield [future.result() for future in waiting]
            waiting = following
    finally:
        pool.shutdown(cancel_futures=True)
