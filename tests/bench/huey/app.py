"""An empty task for Huey, as a Python team would queue it. For comparison only."""

import os
import threading
import time

from huey import RedisHuey

huey = RedisHuey("bench", port=int(os.environ["BENCH_REDIS_PORT"]))


@huey.task()
def empty() -> None:
    pass


def queue(count: int, callers: int) -> None:
    """Has so many threads queue that many together, each one by one, and prints how many a second that were."""

    def some(jobs: int) -> None:
        for _ in range(jobs):
            empty()

    # Those that are left over, at least one: the connection is there before the time begins.
    rest = (count - 1) % callers + 1
    some(rest)
    threads = [threading.Thread(target=some, args=((count - rest) // callers,)) for _ in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print((count - rest) / (time.perf_counter() - started))
