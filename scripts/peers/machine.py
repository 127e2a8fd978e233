"""A small machine made of a big one: memory control groups, an empty page cache, and what the disk gives right now.

Linux only. Groups and dropped caches need root. Both versions of control groups are understood; the one that holds the
memory controller is taken. Nothing here knows of models.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import mmap
import os
import pathlib
import platform
import signal
import subprocess
import tempfile
import threading
import time

# -- processes ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Done:
    """A command that has ended: what it printed, how long it took, and what its group saw."""

    command: list
    status: int
    stdout: str
    stderr: str
    wall_s: float
    first_byte_s: float | None
    timed_out: bool
    group: dict | None

    def trouble(self):
        """One or a few words on why there is no result, or None."""
        if self.timed_out:
            return "timeout"
        if self.status == -signal.SIGKILL:
            return "killed"
        if self.status != 0:
            last = (self.stderr.strip() or self.stdout.strip() or "no message").splitlines()[-1]
            return f"status {self.status}: {last}"
        return None


def execute(command, group=None, timeout_s=600):
    """Runs a command, inside `group` if there is one, and waits for it at most `timeout_s` seconds."""
    command = [str(word) for word in command]
    inside = group.entering(command) if group else command
    timed_out = threading.Event()
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        child = subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        timer = threading.Timer(timeout_s, lambda: (timed_out.set(), child.kill()))
        timer.start()
        try:
            first = child.stdout.read1(1 << 16)
            first_byte_s = time.perf_counter() - begin if first else None
            out = first + child.stdout.read()
            status = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            child.stdout.close()
        wall_s = time.perf_counter() - begin
        errors.seek(0)
        stderr = errors.read().decode("utf-8", "replace")
    seen = group.seen() if group else None
    text = out.decode("utf-8", "replace")
    return Done(command, status, text, stderr, wall_s, first_byte_s, timed_out.is_set(), seen)


def need_root():
    """Ends the program if it may neither make groups nor drop caches."""
    if os.geteuid() != 0:
        raise SystemExit("this needs root, for memory control groups and to drop the page cache")


# -- control groups -----------------------------------------------------------------------------------------------------


def memory_hierarchy():
    """The version of control groups that holds the memory controller, and where it is mounted."""
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup" and "memory" in options.split(","):
            return 1, pathlib.Path(where)
        if kind == "cgroup2" and "memory" in pathlib.Path(where, "cgroup.controllers").read_text(encoding="utf-8").split():
            return 2, pathlib.Path(where)
    raise SystemExit("no memory controller: neither a cgroup nor a cgroup2 mount has one")


class MemoryGroup:
    """A memory control group of `limit` bytes without swap: a context manager.

    On the way out everything in the group is killed and the group is removed.
    """

    made = 0

    def __init__(self, limit):
        self.version, root = memory_hierarchy()
        MemoryGroup.made += 1
        self.path = root / f"ssd-llm-{os.getpid()}-{MemoryGroup.made}"
        self.limit = int(limit)
        if self.version == 2 and "memory" not in (root / "cgroup.subtree_control").read_text(encoding="utf-8").split():
            # Refused in a namespace whose root holds processes; the message of the kernel says no more than "busy".
            (root / "cgroup.subtree_control").write_text("+memory", encoding="utf-8")

    def __enter__(self):
        self.path.mkdir()
        try:
            if self.version == 1:
                self._write("memory.limit_in_bytes", self.limit)
                # Absent where the kernel does not count swap.
                self._write("memory.memsw.limit_in_bytes", self.limit, optional=True)
            else:
                self._write("memory.max", self.limit)
                self._write("memory.swap.max", 0, optional=True)
        except BaseException:
            self.path.rmdir()
            raise
        return self

    def __exit__(self, *_error):
        for _ in range(500):
            pids = self._read("cgroup.procs").split()
            for pid in map(int, pids):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                self.path.rmdir()
                return
            except OSError:
                # Still counted although its processes are gone, or are about to be.
                time.sleep(0.02)
        raise SystemExit(f"cannot remove the control group {self.path}")

    def entering(self, command):
        """`command` behind a shell that first moves itself into the group, so that all of the command is charged to it."""
        return ["sh", "-c", f'echo $$ > "{self.path}/cgroup.procs" && exec "$@"', "sh", *command]

    def seen(self):
        """What the group has seen so far: `peak` in bytes (None on kernels that do not tell), `failcnt`, how often it was
        full, and `oom_kills`."""
        if self.version == 1:
            # The limit with swap in it is as high and is met first, so most are counted there.
            counts = [self.path / "memory.failcnt", self.path / "memory.memsw.failcnt"]
            peak, full = self._read("memory.max_usage_in_bytes"), sum(int(_text(count) or 0) for count in counts)
            kills = self._fields("memory.oom_control").get("oom_kill", 0)
        else:
            peak = self._read("memory.peak") if (self.path / "memory.peak").exists() else None
            events = self._fields("memory.events")
            full, kills = events["max"], events["oom_kill"]
        peak = None if peak is None else int(peak)
        return {"limit": self.limit, "peak": peak, "failcnt": int(full), "oom_kills": int(kills)}

    def _read(self, name):
        return (self.path / name).read_text(encoding="utf-8").strip()

    def _write(self, name, value, optional=False):
        if not optional or (self.path / name).exists():
            (self.path / name).write_text(str(value), encoding="utf-8")

    def _fields(self, name):
        return dict(line.split() for line in self._read(name).splitlines())


# -- page cache and disk ------------------------------------------------------------------------------------------------


def drop_caches():
    """Empties the page cache."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="utf-8")


@dataclasses.dataclass
class Reads:
    """How a disk is measured: sequential direct reads of a file from `start` on, `depth` of them under way."""

    request_bytes: int = 4 << 20
    depth: int = 4
    seconds: float = 2.0
    start: int = 0


HUGE_PAGE = 2 << 20


def direct_rate(path, reads):
    """Bytes a second that the disk gives to such reads of this very file, into memory of huge pages as ssd-llm's own is.

    Reads whole requests, around the file's end to `start` again, on as many threads as requests shall be under way. Into
    buffers of small pages the same disk gives up to 40% less, since a request then has a segment for every page; fio,
    which cannot have huge pages without a reserve of them, measures that.
    """
    n_requests = max((os.path.getsize(path) - reads.start) // reads.request_bytes, 1)
    lock, state = threading.Lock(), {"next": 0, "bytes": 0}
    try:
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError as error:
        raise SystemExit(f"the file system of {path} has no direct reads, to measure the disk by: {error}") from error
    begin = time.perf_counter()

    def work():
        buffer = mmap.mmap(-1, reads.request_bytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        buffer.madvise(mmap.MADV_HUGEPAGE)
        view = memoryview(buffer)[: reads.request_bytes]
        while time.perf_counter() - begin < reads.seconds:
            with lock:
                at = state["next"] % n_requests
                state["next"] += 1
            n = os.preadv(file, [view], reads.start + at * reads.request_bytes)
            with lock:
                state["bytes"] += n
        view.release()
        buffer.close()

    threads = [threading.Thread(target=work) for _ in range(reads.depth)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    os.close(file)
    return state["bytes"] / took


def disk_of(path):
    """The block device under a file and how far the system reads ahead on it; None for what cannot be told."""
    number = os.stat(path).st_dev
    known = {"device": None, "model": None, "read_ahead_kb": None}
    node = pathlib.Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not node.exists():
        node = _source_node(path) or node
    if node.exists():
        node = node.resolve()
        disk = node.parent if (node / "partition").exists() else node
        known["device"] = disk.name
        known["model"] = _text(disk / "device/model")
        known["read_ahead_kb"] = _text(disk / "queue/read_ahead_kb")
    # What the page cache goes by; some file systems have a setting of their own.
    ahead = _text(pathlib.Path(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}/read_ahead_kb"))
    ahead = ahead or known["read_ahead_kb"]
    known["read_ahead_kb"] = int(ahead) if ahead else None
    return known


def _source_node(path):
    """Where a file system has a number of its own, the device that its mount names."""
    number, found = os.stat(path).st_dev, None
    for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        source = right.split()[1]
        if left.split()[2] == f"{os.major(number)}:{os.minor(number)}" and source.startswith("/dev/"):
            found = source
    if not found or not os.path.exists(found):
        return None
    device = os.stat(found).st_rdev
    return pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")


def _text(path):
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


# -- what it is ---------------------------------------------------------------------------------------------------------


def describe(path):
    """The machine, as far as figures depend on it, and the versions of what measures."""
    cpu = platform.processor() or platform.machine()
    for line in (_text(pathlib.Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    try:
        llama_cpp = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        llama_cpp = None
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "disk": disk_of(path),
        "python": platform.python_version(),
        "llama_cpp_python": llama_cpp,
    }
