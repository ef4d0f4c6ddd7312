"""An empty task for Huey, as a Python team would queue it. For comparison only."""

import os
import time

from huey import RedisHuey

huey = RedisHuey("bench", port=int(os.environ["BENCH_REDIS_PORT"]))


@huey.task()
def empty() -> None:
    pass


def queue(count: int) -> None:
    """Queues so many, one by one, and prints how many a second that were."""
    empty()
    started = time.perf_counter()
    for _ in range(count - 1):
        empty()
    print((count - 1) / (time.perf_counter() - started))
