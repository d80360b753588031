"""
What a session may leave on the machine, and how it is found and removed.

Everything has the session's pid in its name: network namespaces sltest-PID-*, pins in
/sys/fs/bpf/sluice-test-PID*, files in /tmp/sluice-test-PID-*. A session removes its own; a later
one removes what has the pid of a dead one, and nothing else.
"""
import os
import re
import shutil
import subprocess

from .netns import Topology, list_netns, run

BPFFS = "/sys/fs/bpf"
PIN_PREFIX = "sluice-test-"
TMP = "/tmp"
TMP_PREFIX = "sluice-test-"


def mount_bpffs():
    with open("/proc/self/mounts", encoding="ascii", errors="replace") as mounts:
        if any(line.split()[1:3] == [BPFFS, "bpf"] for line in mounts):
            return
    run("mount", "-t", "bpf", "bpf", BPFFS)


def pin_dir(pid=None):
    return f"{BPFFS}/{PIN_PREFIX}{pid or os.getpid()}"


def remove_pins(pid):
    shutil.rmtree(pin_dir(pid), ignore_errors=True)


def _alive(pid):
    return os.path.exists(f"/proc/{pid}")


def _pids(names, pattern):
    return {int(match[1]) for match in (re.match(pattern, name) for name in names) if match}


def sweep():
    """Removes what sessions that are dead left behind."""
    for pid in _pids(list_netns(), rf"{Topology.PREFIX}-(\d+)-"):
        if not _alive(pid):
            Topology(pid).destroy()
    for pid in _pids(os.listdir(BPFFS), rf"{PIN_PREFIX}(\d+)$"):
        if not _alive(pid):
            remove_pins(pid)
    for name in os.listdir(TMP):
        match = re.match(rf"{TMP_PREFIX}(\d+)-", name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(f"{TMP}/{name}", ignore_errors=True)


def remove_own():
    pid = os.getpid()
    Topology(pid).destroy()
    remove_pins(pid)
    for name in os.listdir(TMP):
        if name.startswith(f"{TMP_PREFIX}{pid}-"):
            shutil.rmtree(f"{TMP}/{name}", ignore_errors=True)


def children(pid):
    return set(subprocess.run(["ps", "--ppid", str(pid), "-o", "pid=,comm="], text=True,
                              capture_output=True, check=False).stdout.splitlines())


def state():
    """What a session must leave as it found it, as comparable lines."""
    pid = os.getpid()
    mine = {f"namespace {name}" for name in list_netns()
            if name.startswith(f"{Topology.PREFIX}-{pid}-")}
    if os.path.exists(pin_dir(pid)):
        mine |= {f"pin {os.path.join(root, name)}"
                 for root, folders, files in os.walk(pin_dir(pid)) for name in files + folders}
        mine.add(f"pin directory {pin_dir(pid)}")
    for family in ("-4", "-6"):
        routes = run("ip", family, "route", "show", "table", "all", "proto", "184").stdout
        mine |= {f"route {line}" for line in routes.splitlines()}
    mine |= {f"child {line.strip()}" for line in children(pid) if not re.search(r"\bps$", line)}
    mine |= {f"file {name}" for name in os.listdir(TMP)
             if name.startswith(f"{TMP_PREFIX}{pid}-")}
    return mine


def descriptors(pid):
    """fd -> what it is, of a process."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
    return found
