"""The Ray engine (extra `ray`).

The bytes of the local engine, also when a worker is killed in every stage, and a wrong address that
fails at once.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from builders import contents
from processes import double, fail
from sphere_ebm import LabelError, PlacementConfig, label
from sphere_ebm.errors import EngineError, ShardError
from sphere_ebm.labelling.engines import AbstractEngine, AbstractLent, make_engine
from sphere_ebm.labelling.ray_engine import RayEngine, unanswered
from sphere_ebm.librarian.joined import join_shards
from sphere_ebm.maps import sweeps

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
grpc = pytest.importorskip("grpc", reason="the extra `ray` is not installed")
CONFIG = PlacementConfig(neighbours=4, shells=3, steps=20, average=5, tolerance=0.0, replicas=1)
SIZES = (20, 17, 9, 12)
LANDMARKS = 23
SWEEPS = 3
HEAD = "ray.rpc.NodeInfoGcsService/CheckAlive"
CLIENTS = "ray.rpc.RayletDriver/ClusterInfo"
STAGES = {
    "fit_replica",
    "make_block neighbours",
    "make_block met",
    "make_block bounded",
    "make_block edges",
    "sweep_task start",
    "sweep_task sweep",
    "sweep_task measure",
    "label_shard",
}
"""What the workers do for a swept map."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayEngine]:
    """One cluster of two workers for all tests: to start one takes longer than they do."""
    owner = RayEngine(ray, jobs=2)
    with pytest.MonkeyPatch.context() as patch:
        # workers import what tests define
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        owner.prepare()
    yield RayEngine(ray, jobs=2)
    owner.close()
    assert not ray.is_initialized()


class Deadly(AbstractEngine):
    """The cluster; the first worker that has done a task of any kind dies before it says so."""

    def __init__(self, cluster: RayEngine, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        folder.mkdir()

    @property
    @override
    def spreads(self) -> bool:
        return True

    @override
    def lend(self, value: Any) -> AbstractLent[Any]:
        return self.cluster.lend(value)

    @override
    def prepare(self) -> None:
        pass

    @override
    def close(self) -> None:
        pass

    @override
    def run(self, work: Any, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        names = {getattr(task, "stage", getattr(task, "what", "")) for task in tasks}
        marker = self.folder / f"{work.__name__} {''.join(names)}".strip()

        def deadly(task: Any) -> Any:
            done = work(task)
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                return done
            return os.kill(os.getpid(), signal.SIGKILL)

        return self.cluster.run(deadly if tasks else work, tasks)

    @property
    def killed(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def inputs(tmp_path: Path, shard: Callable[..., Path]) -> Path:
    for i, patches in enumerate(SIZES):
        shard(tmp_path / "in" / f"s{i}.safetensors", patches, seed=i)
    return tmp_path / "in"


def test_tasks_of_several_at_a_time_are_done_once_and_errors_are_raised(cluster: RayEngine) -> None:
    assert sorted(cluster.run(double, range(20))) == [(i, 2 * i) for i in range(20)]
    assert list(cluster.run(double, [])) == []
    with pytest.raises(ShardError, match=r"x\.npy: `t` at index 3: is number 0; count"):
        list(cluster.run(fail, [0]))


def test_what_is_lent_is_one_array_that_nobody_writes(cluster: RayEngine) -> None:
    def total(lent: AbstractLent[np.ndarray]) -> tuple[float, bool]:
        return float(lent.value.sum()), lent.value.flags.writeable

    lent = cluster.lend(np.arange(100_000.0))
    (found,) = dict(cluster.run(total, [lent])).values()
    assert found == (sum(range(100_000)), False)


def test_a_swept_map_has_the_bytes_of_one_process_though_a_worker_dies_in_every_stage(
    cluster: RayEngine, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "BLOCK", 20)
    deadly = Deadly(cluster, tmp_path / "deaths")
    options: dict[str, Any] = {"landmarks": LANDMARKS, "sweeps": SWEEPS, "page": False}
    label([inputs], tmp_path / "local", CONFIG, **options)
    label([inputs], tmp_path / "ray", CONFIG, **options, engine=deadly)
    assert deadly.killed == STAGES
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_points_that_join_have_the_bytes_of_one_process_though_a_worker_dies(
    cluster: RayEngine, inputs: Path, tmp_path: Path
) -> None:
    deadly = Deadly(cluster, tmp_path / "deaths")
    options: dict[str, Any] = {"landmarks": LANDMARKS, "sweeps": 0, "page": False}
    label([inputs], tmp_path / "local", CONFIG, **options)
    label([inputs], tmp_path / "ray", CONFIG, **options, engine=deadly)
    assert deadly.killed == {"join_shard"}
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    # and the same command keeps all of it
    again = label([inputs], tmp_path / "ray", CONFIG, **options, engine=cluster)
    assert again.kept == len(SIZES)
    assert ray.is_initialized(), "a cluster that is shared stays"


def test_an_address_where_nobody_answers_fails_before_anything_is_read(
    inputs: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    engine = RayEngine(NotConnected(), address=f"127.0.0.1:{port}")
    told: list[tuple[str, int, int]] = []

    def tell(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    with pytest.raises(LabelError) as refused:
        label([inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, engine=engine, progress=tell)
    assert str(refused.value).startswith(f"no Ray cluster at 127.0.0.1:{port}: ")
    assert "\n" not in str(refused.value)
    assert "refused" in str(refused.value)
    assert told == []
    with pytest.raises(LabelError, match="no Ray cluster"):
        join_shards(tmp_path / "no map", [inputs], tmp_path / "joined", engine=engine)
    assert list(tmp_path.iterdir()) == [inputs]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/2"),
        (b"", "closed"),
        (None, "no answer in 0.3 seconds"),
    ],
    ids=["web", "mute", "slow"],
)
def test_an_address_that_others_answer_is_found_out(words: bytes | None, found: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def answer() -> None:
            # a caller may try more than once
            with suppress(OSError):
                while True:
                    connected = server.accept()[0]
                    held.append(connected)
                    if words is not None:
                        connected.sendall(words)
                        connected.shutdown(socket.SHUT_WR)

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        patience = 0.3 if words is None else 60.0
        said = unanswered(f"ray://127.0.0.1:{port}", patience)
        assert said is not None
        assert found in said
        assert "\n" not in said
        for connected in held:
            connected.close()


@pytest.mark.parametrize(
    ("served", "scheme", "mode", "found"),
    [
        ("pkg.Other/Call", "", "token", "what answers there is no Ray server"),
        (CLIENTS, "", "token", "that is the port for clients; give ray://{}"),
        (HEAD, "ray://", "token", "that is the port of a head; give {}"),
        (HEAD, "", "token", None),
        (CLIENTS, "ray://", "token", None),
        (
            HEAD,
            "",
            "disabled",
            "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN unless"
            " ~/.ray/auth_token holds it",
        ),
    ],
    ids=["another", "clients", "head", "right head", "right clients", "no token"],
)
def test_servers_of_grpc_are_told_apart_by_what_they_know(
    served: str, scheme: str, mode: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)

    def refuse(_: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b""

    service, _, method = served.partition("/")
    known = {method: grpc.unary_unary_rpc_method_handler(refuse)}
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, known)])
        place = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        said = unanswered(f"{scheme}{place}", 60.0)
        server.stop(None).wait()
    assert said == (None if found is None else found.format(place))


def test_a_cluster_answers_and_of_other_addresses_nothing_is_asked(cluster: RayEngine) -> None:
    assert cluster.spreads
    assert unanswered(ray.get_runtime_context().gcs_address) is None
    assert unanswered("auto") is None


class NotConnected:
    """Ray before any cluster: nothing but the question may be asked of it."""

    def is_initialized(self) -> bool:
        return False


def test_without_an_address_a_cluster_is_started_beside_any_that_runs() -> None:
    given: dict[str, Any] = {}

    class Starting(NotConnected):
        def init(self, **options: Any) -> None:
            given.update(options)

    RayEngine(Starting(), jobs=3).prepare()
    assert (given["address"], given["num_cpus"]) == ("local", 3)


def test_what_ray_says_of_an_address_is_one_line() -> None:
    class Talkative(NotConnected):
        def init(self, **_: Any) -> None:
            raise ConnectionError("it is down\nand here is why\nat length")

    with pytest.raises(EngineError, match=r"no Ray cluster at auto: it is down$"):
        RayEngine(Talkative(), address="auto").prepare()
    assert isinstance(make_engine("ray", ray_address="auto"), RayEngine)
