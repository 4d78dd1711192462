"""One run of the server, from the command line's options to the exit code.

The order is for speed and for honesty: what can be refused is refused before anything is started; the port is
bound before the worker, so it cannot be lost meanwhile; the worker loads its model while Gradio is imported,
each taking seconds; the address is printed when it really answers.
"""

import errno
import gc
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any

from data.scorers import BUILT_IN
from labeling.simulate import SimulateConfig
from labeling.store import StoreError, open_store
from labeling.supervisor import MODULE, Supervisor, child_environment, worker_command

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
ANY_ADDRESS = ("0.0.0.0", "::", "")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class ServeError(Exception):
    """The server cannot start. The message is one sentence for people."""


@dataclass(frozen=True)
class ServeConfig:
    """Options of `python app.py` beside the worker's; the help texts are the command line's."""

    run_dir: Path = field(
        default=Path("runs/default"), metadata={"help": "Where everything this run learns is kept."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen on."})
    port: int = field(default=7860, metadata={"help": "Port to listen on; 0: any free one."})
    simulate: int = field(
        default=0, metadata={"help": "Let programs submit this many rankings (as 'simulate' does)."}
    )
    scorer: str = field(default="helpful", metadata={"help": "With --simulate: what the programs prefer."})
    annotators: int = field(default=4, metadata={"help": "With --simulate: how many programs."})
    noise: float = field(
        default=0.1, metadata={"help": "With --simulate: share of pairs ranked the wrong way round."}
    )


Check = Callable[[dict[str, Any]], None]


def serve(config: ServeConfig, worker: dict[str, Any], check: Check = lambda _: None) -> int:
    """Serve until told to stop; return the exit code. `worker`: the worker's settings, as JSON has them.

    check: raises ValueError for settings that the worker would refuse half a minute later.
    """
    try:
        with _terminable(), ExitStack() as stack:
            return _serve(config, worker, check, stack)
    except (ServeError, StoreError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(config: ServeConfig, worker: dict[str, Any], check: Check, stack: ExitStack) -> int:
    worker = worker | {name: _existing(name, worker[name]) for name in ("model", "base_model", "prompts")}
    try:
        check(worker)
    except ValueError as error:
        raise ServeError(str(error)) from error
    listener = stack.enter_context(listen(config.host, config.port))
    port = listener.getsockname()[1]
    url = f"http://{_shown_host(config.host)}:{port}"
    simulate = _simulation_config(config, url, worker["seed"])
    stack.enter_context(lock_run(config.run_dir))
    store = stack.enter_context(open_store(config.run_dir, create=True, migrate=True))
    earlier = store.get_setting("config", {})
    store.put_setting("config", worker)
    supervisor = Supervisor(store, worker_command(config.run_dir, worker), config.run_dir / "worker.log")
    # Settings the worker never worked with are not the run's: a refused start changes nothing.
    stack.callback(lambda: supervisor.worked or store.put_setting("config", earlier))
    stack.callback(supervisor.stop)
    supervisor.start()

    from labeling.web import create_app  # seconds, while the worker starts

    loopback = is_loopback(config.host)
    if not loopback:
        print(no_login(config.host, port), file=sys.stderr)
    app = create_app(store, hosts={*LOOPBACK_NAMES, config.host} if loopback else None, port=port)

    def answering() -> None:
        print(f"Podium is at {url} - annotate there, watch at {url}/lab", flush=True)
        if simulate:
            stack.callback(end, simulation(simulate))

    run_server(app, listener, supervisor, answering)
    if supervisor.refusal:
        raise ServeError(supervisor.refusal)
    return 0


def run_server(app: Any, listener: socket.socket, supervisor: Supervisor, answering: Any) -> None:
    """Answer requests until a signal, or until the worker refuses its settings."""
    import uvicorn

    from labeling.protocol import BoundedHead

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and not supervisor.refusal:
                answering()

        async def on_tick(self, counter: int) -> bool:
            return supervisor.refusal is not None or await super().on_tick(counter)

    # 200,000 objects of Gradio's stay for good. To look through them for garbage takes 0.2 s, every now and
    # then, in which nobody is answered.
    gc.collect()
    gc.freeze()
    # Pages hold streams open: without a limit a shutdown would wait for the last tab to be closed.
    options = {"log_level": "warning", "access_log": False, "ws": "none", "server_header": False}
    options |= {"timeout_graceful_shutdown": 1, "http": BoundedHead}
    Server(uvicorn.Config(app, **options)).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: the port is ours from here on, and early visitors wait instead of being refused."""
    if not 0 <= port < 65536:  # the C library would take it modulo 65536
        raise ServeError(f"Port {port} is not a port; choose one up to 65535 with --port.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (socket.gaierror, UnicodeError) as error:
        raise ServeError(f"{host}:{port} is not an address; choose with --host and --port.") from error
    except PermissionError as error:
        raise ServeError(f"Port {port} may not be used by you; choose another with --port.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServeError(f"Port {port} is taken; choose another with --port.") from error
        raise ServeError(f"{host} is not an address of this machine; choose with --host.") from error
    return listener


@contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Hold a run directory. Two servers on one would start two workers. The kernel lets go when we die."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = (run_dir / "server.lock").open("a+")
    except OSError as error:
        raise ServeError(f"The run directory {run_dir} cannot be written: {error.strerror}.") from error
    with file:
        if not _try_lock(file):
            file.seek(0)
            process = file.read().strip() or "unknown"
            raise ServeError(f"{run_dir} is already served by process {process}; choose another --run-dir.")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def no_login(host: str, port: int) -> str:
    """The warning for an address others can reach too."""
    where = f"http://{_shown_host(host)}:{port}"
    if host in ANY_ADDRESS:
        where = f"port {port} at any address of this machine"
    return f"There is no login yet: everybody who can reach {where} can rank and train."


def simulation(config: SimulateConfig) -> subprocess.Popen:
    """Programs that rank through the API, as a process: their scorer may import anything it likes."""
    words = [
        word
        for name in ("rankings", "annotators", "scorer", "noise", "seed", "url")
        for word in (f"--{name}", str(getattr(config, name)))
    ]
    # They wait while a round trains, as people's pace would: what they rank next is the new policy's.
    command = [sys.executable, *MODULE, "app", "simulate", *words, "--wait-for-rounds"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=child_environment())


def end(process: subprocess.Popen) -> None:
    """End a child that has nothing to lose."""
    process.kill()
    process.wait()


def _simulation_config(config: ServeConfig, url: str, seed: int) -> SimulateConfig | None:
    """What `--simulate` asks for, refused before anything is started if it cannot be."""
    if not config.simulate:
        return None
    try:
        _check_scorer(config.scorer)
        return SimulateConfig(
            rankings=config.simulate,
            annotators=config.annotators,
            scorer=config.scorer,
            noise=config.noise,
            seed=seed,
            url=url,
        )
    except ValueError as error:
        raise ServeError(str(error)) from error


def _check_scorer(spec: str) -> None:
    """Raises ValueError for what is no scorer. In a process of its own: it may import torch, or crash."""
    if spec in BUILT_IN:
        return
    command = [sys.executable, *MODULE, "data.scorers", spec]
    done = subprocess.run(command, env=child_environment(), stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ValueError(said[-1] if said else f"The scorer '{spec}' ended with exit code {done.returncode}.")


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends us like a return, so that everything is closed; uvicorn passes it on when it is done."""

    def leave(_signal: int, _frame: Any) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _existing(name: str, value: str) -> str:
    """Refuse a path that is not there, now and not after the worker has imported torch; one that is there is
    to be found from wherever the run is used.

    What may be a hub id (`org/name`) is the worker's to find.
    """
    if not value or value == "starter":
        return value
    path = Path(value).expanduser()
    looks_local = path.is_absolute() or value.startswith((".", "~")) or "\\" in value
    if path.is_dir() and name != "prompts" and not (path / "config.json").exists():
        raise ServeError(f"--{name.replace('_', '-')} {value} has no config.json, so it is not a model.")
    if path.is_file() and name != "prompts":
        wanted = "a folder made by save_pretrained, or a hub id"
        raise ServeError(f"--{name.replace('_', '-')} {value} is a file; wanted: {wanted}.")
    if path.exists():
        return str(path.resolve())
    if name == "prompts" or looks_local or ("/" in value and not _HUB_ID.fullmatch(value)):
        raise ServeError(f"--{name.replace('_', '-')} {value} does not exist.")
    return value


def _try_lock(file: IO[str]) -> bool:
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _shown_host(host: str) -> str:
    if host in ANY_ADDRESS:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
