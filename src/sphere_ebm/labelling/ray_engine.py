"""The engine that runs on a Ray cluster (the extra `ray`)."""

import itertools
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from typing_extensions import override

from sphere_ebm.errors import EngineError, require
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
    def reach(self) -> None:
        """Ask the address, unless this process is connected already or a cluster starts here.

        Raises:
            EngineError: no cluster answers there, see `unanswered`.
        """
        if self.address is None or self.ray.is_initialized():
            return
        if (silence := unanswered(self.address)) is not None:
            raise _no_cluster(self.address, silence)

    @override
    def prepare(self) -> None:
        """Connect to the cluster, or start one here, unless this process is connected already.

        Raises:
            EngineError: nobody answers at the address, or no cluster does.
        """
        if self.ray.is_initialized():
            return
        self.reach()
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            # not the one that may run here already, which has processors of its own
            options = {"address": "local", "num_cpus": self.jobs, "include_dashboard": False}
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
    """Why no Ray cluster answers at `host:port` or `ray://host:port`; None where one does.

    Ray itself would try for two minutes. The address is asked in gRPC for what only the right one
    of Ray's servers knows: its head, or the one for clients. Of another kind of address, and where
    TLS is wanted, whose certificates Ray has, nothing is asked.

    Raises MissingPackageError where grpcio is not installed.
    """
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return None
    grpc = require("grpc", "ray", "asking whether a Ray cluster answers")
    # Ray passes over proxies, too
    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:

        def answered(method: str) -> tuple[Any, str]:
            """The kind of answer, and what is said of it."""
            try:
                channel.unary_unary(method)(b"", timeout=patience)
            except grpc.RpcError as error:
                return error.code(), error.details()
            return grpc.StatusCode.OK, ""

        asked, other = (_OF_CLIENTS, _OF_HEAD) if scheme == "ray" else (_OF_HEAD, _OF_CLIENTS)
        code, said = answered(asked)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer in {patience:g} seconds"
        if code == grpc.StatusCode.UNAVAILABLE:
            # what comes before the port says which sockets were tried
            reason = " ".join(said.rpartition(f":{port}: ")[2].rstrip("]").split())
            return reason or "nobody answers"
        if code == grpc.StatusCode.UNAUTHENTICATED and not _takes_token():
            return (
                "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN unless"
                " ~/.ray/auth_token holds it"
            )
        if code != grpc.StatusCode.UNIMPLEMENTED:
            return None  # whatever else it lacks is for Ray to see to
        if answered(other)[0] == grpc.StatusCode.UNIMPLEMENTED:
            return "what answers there is no Ray server"
    if scheme == "ray":
        return f"that is the port of a head; give {place}"
    return f"that is the port for clients; give ray://{place}"


def _takes_token() -> bool:
    """Whether Ray would send a token to an address that it is given: it must be told to."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


_OF_HEAD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_OF_CLIENTS = "/ray.rpc.RayletDriver/ClusterInfo"
"""Calls that the server of a head, and the one for clients, know (Ray's own protocol files)."""
