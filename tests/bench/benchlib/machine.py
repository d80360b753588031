"""The place of a bench: a network namespace, a directory, and what the CPUs were used for."""
import atexit
import ctypes
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
BPFFS = "/sys/fs/bpf"
CPUCLOCK_SCHED = 2

_libc = ctypes.CDLL(None, use_errno=True)


class Unusable(Exception):
    """The bench cannot run here; the text says why."""


def build_dir():
    return Path(os.environ.get("SLUICE_BUILD", TOP / "build")).resolve()


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_on_signal(number, _frame):
    sys.exit(128 + number)


def sweep(folder):
    """Removes what benches left that were killed, by the pid in the name."""
    for path in Path(folder).glob("sluice-test-*"):
        match = re.match(r"sluice-test-(\d+)(-|$)", path.name)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            shutil.rmtree(path, ignore_errors=True)


class Place:
    """
    Moves this process into a network namespace of its own, which ends with the last process in it,
    and gives it a directory in memory. Use as a context manager; close() ends what was started.
    """

    def __init__(self):
        if os.geteuid() != 0:
            raise Unusable("needs root (a network namespace, BPF, low ports)")
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise Unusable("no network namespace: " + os.strerror(ctypes.get_errno()))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        # Low ports are the servers', all others are there for connections. BBR, where it is the
        # machine's default, would pace by timers what crosses loopback, which loses nothing and needs no pacing.
        for setting in ("ip_local_port_range=1024 65535", "tcp_max_tw_buckets=32768",
                        "tcp_congestion_control=reno"):
            subprocess.run(["sysctl", "-qw", "net.ipv4." + setting], check=True)
        name = f"sluice-test-{os.getpid()}"
        self.pins = Path(BPFFS) / name
        # In memory: what is measured is the writing of a log, not the disk below it.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
        for folder in (memory, BPFFS):
            sweep(folder)
        self.directory = Path(tempfile.mkdtemp(prefix=name + "-", dir=memory))
        self.directory.chmod(0o755)
        self.programs = []
        atexit.register(self.close)
        signal.signal(signal.SIGTERM, _exit_on_signal)

    def close(self):
        for program in reversed(self.programs):
            program.stop()
        self.programs = []
        # Dropped pins detach what they hold.
        shutil.rmtree(self.pins, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- CPU time


def process_cpu_ns(pid):
    """
    What all threads of a process have used, ended ones and io_uring's kernel workers (which are
    threads of it) included: the sum that /proc/PID/task/*/schedstat gives, without losing a thread.
    """
    return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += [int(child) for child in file.read().split()]
    return found


def family_cpu_ns(pid):
    """A process and its children (nginx's workers)."""
    return sum(process_cpu_ns(each) for each in [pid, *children(pid)])


def kernel_threads():
    """pid -> name of what kthreadd made: ksoftirqd, kworker, ..."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name, rest = re.match(r"\d+ \((.*)\) . (\d+)", text, re.S).groups()
        if rest == "2":
            found[int(pid)] = name
    return found


def kernel_cpu_ns():
    """pid -> nanoseconds, of every kernel thread."""
    used = {}
    for pid in kernel_threads():
        try:
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                used[pid] = int(file.read().split()[0])
        except (OSError, IndexError):
            continue
    return used


def kernel_difference_ns(before, after):
    """A thread that is new counts whole, one that has ended is lost."""
    return sum(used - before.get(pid, 0) for pid, used in after.items())


def busy_ticks():
    """Clock ticks in which some CPU did something, since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:]]
    return sum(fields[:3]) + sum(fields[5:8])


TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def description():
    """One line that says on what the figures were taken."""
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        match = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
        model = match[1] if match else model
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, {model}"


def set_affinity(cpus):
    """For preexec: stay on these CPUs, and end with the bench."""

    def prepare():
        die_with_parent()
        if cpus is not None:
            os.sched_setaffinity(0, cpus)

    return prepare
