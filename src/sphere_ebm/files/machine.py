"""What of the machine the bits of a result depend on."""

import os
import sys


def visible_cpus() -> int:
    """How many CPUs this process may use, by which XLA cuts its work.

    Other cuts add in another order, and so round differently.
    """
    # Only Linux tells what a process is bound to (taskset, containers); others have all.
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
