"""The engine that runs on a Ray cluster (the extra `ray`)."""

import itertools
import os
import socket
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from typing_extensions import override

from sphere_ebm.errors import EngineError
from sphere_ebm.labelling.engines import (
    RETRIES,
    AbstractEngine,
    AbstractLent,
    Numbered,
    Result,
    Task,
    Value,
    Work,
)

PATIENCE = 6.0
"""Seconds that an address has to answer."""

AHEAD = 4
"""Tasks for each processor that a cluster is given before results have come back."""


@final
@dataclass(frozen=True, eq=False)
class LentByRay(AbstractLent[Value]):
    """A value in the memory that the processes of each machine of a cluster share."""

    reference: Any

    @property
    @override
    def value(self) -> Value:
        import ray

        held: Value = ray.get(self.reference)
        return held


@final
class RayEngine(AbstractEngine):
    """Ray tasks (Moritz et al. 2018). Those of a worker or node that was lost are repeated by Ray.

    Inputs and output must lie on a file system that all nodes share.
    """

    def __init__(self, ray: Any, jobs: int = 1, address: str | None = None):
        self.ray = ray
        self.jobs = jobs
        self.address = address
        self._ours = False
        self._remote: dict[Callable[..., Any], Any] = {}

    @property
    @override
    def spreads(self) -> bool:
        return True

    @override
    def lend(self, value: Value) -> AbstractLent[Value]:
        """`value` in the shared memory of each machine that has tasks which hold it."""
        self.prepare()
        return LentByRay(self.ray.put(value))

    @override
    def close(self) -> None:
        """Disconnect, and end the cluster if it was started here."""
        if self._ours:
            self.ray.shutdown()
            self._ours = False
            self._remote.clear()

    @override
    def prepare(self) -> None:
        """Connect to the cluster, or start one here, unless this process is connected already.

        Raises:
            EngineError: nobody answers at the address, or no cluster does.
        """
        if self.ray.is_initialized():
            return
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            options = {"num_cpus": self.jobs, "include_dashboard": False}
        elif (silence := unanswered(self.address)) is not None:
            raise _no_cluster(self.address, silence)
        with warnings.catch_warnings():
            # Ray's servers are started by fork and exec, which XLA's threads do not mind
            warnings.filterwarnings(
                "ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning
            )
            try:
                self.ray.init(log_to_driver=False, logging_level="ERROR", **options)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise _no_cluster(self.address, str(error)) from error
        self._ours = True

    @override
    def run(self, work: Work[Task, Result], tasks: Sequence[Task]) -> Numbered[Result]:
        self.prepare()
        if work not in self._remote:
            self._remote[work] = self.ray.remote(num_cpus=1, max_retries=RETRIES)(work)
        remote = self._remote[work]
        ahead = AHEAD * max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        left = enumerate(tasks)
        waiting: dict[Any, int] = {}
        while True:
            # not all at once: what tasks hold and return is kept in the cluster's memory
            for number, task in itertools.islice(left, ahead - len(waiting)):
                waiting[remote.remote(task)] = number
            if not waiting:
                return
            (done,), _ = self.ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), self._result(done)

    def _result(self, reference: Any) -> Any:
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            raise EngineError(
                f"Ray lost a task {RETRIES + 1} times; what is finished is kept"
            ) from error


def _no_cluster(address: str | None, reason: str) -> EngineError:
    # what Ray says may go over many lines, of which the first tells what is wrong
    first = next(iter(reason.splitlines()), "")
    return EngineError(f"no Ray cluster at {address or 'this machine'}: {first}")


def unanswered(address: str, patience: float = PATIENCE) -> str | None:
    """Why no server of HTTP/2 answers at `host:port` or `ray://host:port`; None where one does.

    Ray itself would try for two minutes. Of another kind of address nothing is asked; that a server
    of HTTP/2 is none of Ray's, Ray finds out in 20 seconds.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return None
    found: list[str | None] = []

    def knock() -> None:
        try:
            found.append(_not_grpc(host.strip("[]"), int(port), patience))
        except TimeoutError:
            pass  # as if it had been found out too late
        except (OSError, OverflowError) as error:
            found.append(str(error))

    # the name of a host may be looked up for longer than any socket waits
    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    knocking.join(patience)
    return found[0] if found else f"no answer in {patience:g} seconds"


def _not_grpc(host: str, port: int, patience: float) -> str | None:
    """Whether a server's first words are those of HTTP/2, in which Ray's servers speak."""
    with socket.create_connection((host, port), timeout=patience) as connected:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return None  # it would want certificates first, and Ray has them
        connected.sendall(_PREFACE)
        heard = b""
        while len(heard) < _HEAD:
            more = connected.recv(_HEAD - len(heard))
            if not more:
                break
            heard += more
    settings = heard[3:4] == b"\x04"
    return None if settings else "what answers there is no Ray server"


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""How a client of HTTP/2 begins: its preface, and settings without any (RFC 9113, 3.4)."""

_HEAD = 9
"""Bytes of the head of a frame, of which the fourth is its kind; settings come first."""
