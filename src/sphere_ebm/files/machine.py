"""What of the machine the bits of a result depend on, and how much it does at a time."""

import os
import sys

_MOST_AT_A_TIME = 8


def visible_cpus() -> int:
    """How many CPUs this process may use, by which XLA cuts its work.

    Other cuts add in another order, and so round differently.
    """
    # Only Linux tells what a process is bound to (taskset, containers); others have all.
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_a_time() -> int:
    """How many pieces of work that leave processors idle are done at a time, in threads.

    At most eight, since each takes memory. The bits of a result do not depend on it.
    """
    return min(visible_cpus(), _MOST_AT_A_TIME)
