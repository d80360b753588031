"""The CLI on real pins, in a mount and a network namespace of its own: sluiced makes the pins."""
import json
import os
import signal
import subprocess
import time

import pytest

from conftest import SLUICE, SLUICED

CONFIG = """version: 1
node:
  workers: 1
  state_dir: {dir}/state
  bpffs: /sys/fs/bpf/sluice-cli
  admin: {{ socket: {dir}/admin.sock }}
dataplane:
  interfaces: [ {{ name: cliv0, xdp: auto }} ]
  deny:
    - {{ cidr: 203.0.113.0/24, reason: scanner }}
listeners:
  - {{ name: web, address: [ "192.0.2.10:80" ], protocol: http }}
routes:
  - {{ name: health, match: {{ path: {{ exact: /healthz }} }}, respond: {{ status: 200 }} }}
"""
# The namespaces live as long as this shell, which ends with its standard input.
NAMESPACE = ("mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && ip link set lo up && "
             "ip link add cliv0 type veth peer name cliv1 && ip link set cliv0 up && "
             "ip link set cliv1 up && echo made && exec cat")


class Node:
    def __init__(self, directory):
        self.dir = str(directory)
        self.daemon = None
        self.shell = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", NAMESPACE],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.shell.stdout.readline() != b"made\n":
            self.close()
            pytest.skip("namespaces with bpffs and veth cannot be made here")
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith("SLUICE_") or name == "SLUICE_IO"}
        self.env.update(SLUICE_SOCKET=f"{self.dir}/admin.sock", SLUICE_STATE_DIR=f"{self.dir}/state",
                        SLUICE_BPFFS="/sys/fs/bpf/sluice-cli")
        self.file = os.path.join(self.dir, "sluice.yaml")
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(dir=self.dir))

    def inside(self, command):
        return ["nsenter", f"--mount=/proc/{self.shell.pid}/ns/mnt",
                f"--net=/proc/{self.shell.pid}/ns/net", *command]

    def start(self):
        self.daemon = subprocess.Popen(self.inside([SLUICED, "--config", self.file]), env=self.env,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = []
        for line in self.daemon.stdout:
            seen.append(line)
            if "ready" in line:
                return
        raise AssertionError("sluiced ended before it was ready:\n" + "".join(seen))

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait(60)
        self.daemon.stdout.close()
        self.daemon = None

    def sluice(self, *args):
        return subprocess.run(self.inside([SLUICE, *args]), env=self.env, capture_output=True,
                              text=True, timeout=60, check=False)

    def json(self, *args):
        result = self.sluice("-j", *args)
        assert result.stderr == ""
        return json.loads(result.stdout)

    def cidrs(self, name="deny"):
        return sorted(entry["cidr"] for entry in self.json(name)["entries"])

    def close(self):
        if self.daemon:
            self.kill()
        # Pins and links go with the mount, the interfaces with the network namespace.
        self.shell.stdin.close()
        self.shell.wait(60)
        self.shell.stdout.close()


@pytest.fixture
def node(tmp_path, sluice_binary):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    # On the way down to the socket everybody may pass.
    tmp_path.chmod(0o755)
    it = Node(tmp_path)
    try:
        it.start()
        yield it
    finally:
        it.close()


@pytest.fixture
def dead(node):
    """The pins of a daemon that was killed."""
    node.kill()
    return node


def test_with_the_daemon_everything_answers(node):
    for command in (["status"], ["deny"], ["allow"], ["deny", "counters"], ["route"], ["upstream"],
                    ["config"], ["config", "check"], ["config", "reload"], ["prog"], ["version"]):
        text = node.sluice(*command)
        assert text.returncode == 0 and text.stderr == "", (command, text)
        assert "error" not in node.json(*command), command
    assert node.json("status")["daemon"] is True
    assert node.sluice("deny", "add", "198.51.100.7", "ttl", "1h").returncode == 0
    assert node.cidrs() == ["198.51.100.7/32", "203.0.113.0/24"]
    assert node.sluice("deny", "delete", "198.51.100.7").returncode == 0
    assert node.cidrs() == ["203.0.113.0/24"]


def test_unload_is_refused_while_the_daemon_lives(node):
    result = node.sluice("prog", "unload")
    assert result.returncode == 1 and "stop it first" in result.stderr
    # Also when its socket is not found: it holds the lock.
    hidden = node.sluice("--socket", node.dir + "/other.sock", "prog", "unload")
    assert hidden.returncode == 1 and "a daemon lives" in hidden.stderr
    assert node.json("prog")["steering"]["attached"] is True


def test_reload_of_programs_is_refused_while_the_daemon_lives(node):
    result = node.sluice("prog", "reload")
    assert result.returncode == 1 and "systemctl restart sluiced" in result.stderr
    hidden = node.sluice("--socket", node.dir + "/other.sock", "prog", "reload")
    assert hidden.returncode == 1 and "a daemon lives" in hidden.stderr


def test_programs_are_swapped_in_place_without_a_daemon(dead):
    before = dead.json("prog")
    dead.json("deny", "add", "198.51.100.7")
    assert dead.json("prog", "reload") == {
        "bpffs": "/sys/fs/bpf/sluice-cli", "swapped": 2, "version": dead.json("-V")["version"]}
    after = dead.json("prog")
    assert [row["id"] for row in after["links"]] == [row["id"] for row in before["links"]]
    assert {row["name"] for row in after["programs"]} == {"sl_main", "sl_steer"}
    assert not {row["id"] for row in after["programs"]} & {row["id"] for row in before["programs"]}
    assert dead.cidrs() == ["198.51.100.7/32", "203.0.113.0/24"]
    text = dead.sluice("prog", "reload")
    assert "took the place of 2 attached ones in /sys/fs/bpf/sluice-cli." in text.stdout
    # With -d the verifier's work is told, on standard error: the document stays alone.
    debug = dead.sluice("-jd", "prog", "reload")
    assert json.loads(debug.stdout)["swapped"] == 2
    assert "BEGIN PROG LOAD LOG" in debug.stderr and "processed " in debug.stderr
    dead.start()
    assert dead.json("prog")["interfaces"][0]["name"] == "cliv0"
    assert dead.cidrs() == ["198.51.100.7/32", "203.0.113.0/24"]


def test_writes_are_refused_while_the_lock_is_held(node):
    result = node.sluice("--socket", node.dir + "/other.sock", "deny", "add", "198.51.100.7")
    assert result.returncode == 1
    assert "a daemon lives" in result.stderr and "--socket" in result.stderr
    assert node.cidrs() == ["203.0.113.0/24"]


def test_status_is_short_after_a_kill(dead):
    doc = dead.json("status")
    assert doc["daemon"] is False and doc["state"] == "stopped"
    assert [row["name"] for row in doc["dataplane"]["interfaces"]] == ["cliv0"]
    assert dead.sluice("status").stdout.startswith("No daemon is running (")


def test_lists_are_changed_after_a_kill(dead):
    added = dead.json("deny", "add", "198.51.100.7", "reason", "bad", "ttl", "1h")
    assert added["cidr"] == "198.51.100.7/32" and added["reason"] == "bad"
    assert added["daemon"] is False and added["origin"] == "cli" and 0 < added["ttl_s"] <= 3600
    assert dead.json("deny", "add", "198.51.100.7", "reason", "worse")["ttl_s"] is None
    entry, = dead.json("deny", "cidr", "198.51.100.7")["entries"]
    assert entry["reason"] == "worse" and entry["expires_at"] is None
    assert dead.json("allow", "add", "2001:db8::/32")["cidr"] == "2001:db8::/32"
    assert dead.cidrs("allow") == ["2001:db8::/32"]
    assert dead.json("deny", "delete", "198.51.100.7") == {"removed": "198.51.100.7/32",
                                                         "daemon": False}
    again = dead.sluice("-j", "deny", "delete", "198.51.100.7")
    assert again.returncode == 1 and "not on the deny list" in json.loads(again.stdout)["error"]
    assert "No daemon is running" in dead.sluice("deny", "add", "198.51.100.8").stdout


def test_changes_after_a_kill_are_kept_by_the_next_start(dead):
    dead.json("deny", "add", "198.51.100.7", "reason", "kept")
    dead.start()
    assert dead.cidrs() == ["198.51.100.7/32", "203.0.113.0/24"]
    dead.kill()
    assert dead.sluice("prog", "unload").returncode == 0
    dead.start()
    assert dead.cidrs() == ["198.51.100.7/32", "203.0.113.0/24"]


def test_counters_are_read_after_a_kill(dead):
    doc = dead.json("deny", "counters")
    assert doc["daemon"] is False
    assert {"deny", "allow"} <= {row["name"] for row in doc["reasons"]}
    assert "REASON" in dead.sluice("allow", "counters").stdout


def test_stats_of_the_kernel_part_are_shown_after_a_kill(dead):
    doc = dead.json("stats", "interval", "100ms")
    assert doc["daemon"] is False and doc["bpffs"] == "/sys/fs/bpf/sluice-cli"
    assert doc["interval_s"] >= 0.1 and "routes" not in doc
    rows = {row["name"]: row for row in doc["reasons"]}
    assert {"pass", "deny", "steer"} <= set(rows) and rows["deny"]["packets_per_s"] == 0
    assert doc["services"] == []
    text = dead.sluice("stats")
    assert text.returncode == 0 and text.stdout.startswith("No daemon is running (")
    assert "KERNEL" in text.stdout or "The kernel part has counted nothing." in text.stdout
    refused = dead.sluice("-j", "event")
    assert refused.returncode == 1 and "start sluiced" in json.loads(refused.stdout)["error"]


def test_programs_are_shown_and_unloaded_after_a_kill(dead):
    doc = dead.json("-f", "prog")
    assert doc["daemon"] is False and doc["bpffs"] == "/sys/fs/bpf/sluice-cli"
    assert doc["interfaces"][0]["name"] == "cliv0" and doc["interfaces"][0]["program_id"] > 0
    assert {"prefix": "192.0.2.10/32", "ports": "80"} in doc["steering"]["tuples"]
    main, steer = sorted(doc["programs"], key=lambda row: row["name"])
    assert (main["name"], main["type"], steer["name"], steer["type"]) == \
        ("sl_main", "xdp", "sl_steer", "sk_lookup")
    assert main["id"] == doc["interfaces"][0]["program_id"]
    for row in main, steer:
        assert row["instructions"] <= row["verified_instructions"] <= 200000
        assert row["memory_bytes"] >= 4096 and row["jited_bytes"] > 0 and row["map_ids"]
    links = {row["name"]: row for row in doc["links"]}
    assert links["xdp_link_cliv0"]["program_id"] == main["id"]
    assert links["steer_link"]["program_id"] == steer["id"]
    assert all(row["attached"] for row in doc["links"])
    assert all(row["path"].startswith("/sys/fs/bpf/sluice-cli/") for row in doc["pins"])
    assert len(doc["pins"]) > 5
    assert "PIN\n/sys/fs/bpf/sluice-cli/" in dead.sluice("-f", "prog").stdout
    assert "PIN\n" not in dead.sluice("prog").stdout
    assert dead.json("prog", "unload") == {"bpffs": "/sys/fs/bpf/sluice-cli", "unloaded": True}
    assert dead.json("prog", "unload")["unloaded"] is False
    link = subprocess.run(dead.inside(["ip", "link", "show", "cliv0"]), capture_output=True,
                          text=True, check=True)
    assert "xdp" not in link.stdout
    for command in (["prog"], ["deny"], ["deny", "add", "198.51.100.7"], ["status"], ["map"],
                    ["map", "dump", "sl_meta"], ["prog", "reload"], ["stats"]):
        result = dead.sluice("-j", *command)
        assert result.returncode == 1
        assert "nothing is pinned" in json.loads(result.stdout)["error"]


def test_run_time_is_shown_while_the_kernel_counts_it(dead):
    with open("/proc/sys/kernel/bpf_stats_enabled", encoding="ascii") as file:
        before = file.read()
    ping = dead.inside(["ip", "address", "add", "198.18.9.1/24", "dev", "cliv1"])
    subprocess.run(ping, check=True)
    try:
        with open("/proc/sys/kernel/bpf_stats_enabled", "w", encoding="ascii") as file:
            file.write("1")
        # One ARP request to XDP on the other end.
        subprocess.run(dead.inside([
            "/usr/bin/python3", "-c",
            "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('198.18.9.2', 9))"]),
            check=True)
        deadline = time.monotonic() + 30
        while True:
            doc = dead.json("prog")
            main, = [row for row in doc["programs"] if row["name"] == "sl_main"]
            if main["run_count"] or time.monotonic() > deadline:
                break
        assert doc["run_time_counted"] is True
        assert main["run_count"] >= 1 and main["run_time_ns"] >= 1
        assert main["ns_per_run"] == main["run_time_ns"] / main["run_count"]
    finally:
        with open("/proc/sys/kernel/bpf_stats_enabled", "w", encoding="ascii") as file:
            file.write(before)


@pytest.mark.parametrize("alive", [True, False])
def test_maps_are_shown_dumped_and_looked_up(node, alive):
    if not alive:
        node.kill()
    doc = node.json("-f", "map")
    assert doc["daemon"] is alive and doc["bpffs"] == "/sys/fs/bpf/sluice-cli"
    maps = {row["name"]: row for row in doc["maps"]}
    assert maps["sl_counters"]["type"] == "percpu_array" and maps["sl_counters"]["value_bytes"] == 16
    assert maps["sl_meta"]["max_entries"] == 1 and maps["sl_meta"]["memory_bytes"] > 0
    assert maps["sl_meta"]["path"] == "/sys/fs/bpf/sluice-cli/sl_meta"
    shown, = node.json("map", "show", "name", "sl_meta")["maps"]
    assert shown == {key: value for key, value in maps["sl_meta"].items() if key != "path"}

    meta, = node.json("map", "dump", "sl_me")["elements"]
    assert meta["key"] == 0 and meta["value"]["magic"] == 0x736c7569
    found = node.json("map", "lookup", "sl_meta", "key", "0")
    assert found == {"key": 0, "value": meta["value"], "map": "sl_meta"}
    assert node.json("map", "lookup", "sl_meta", "hex", "00000000") == found
    tuples = node.json("map", "dump", "sl_tuple_exact")
    assert [row["key"]["port"] for row in tuples["elements"]] == [80] and tuples["not_shown"] == 0
    counters = node.json("map", "lookup", "sl_counters", "key", "5")
    assert all(set(value) == {"packets", "bytes"} for value in counters["values"])
    dump = node.json("map", "dump", "sl_counters", "limit", "1")
    assert len(dump["elements"]) + dump["not_shown"] + dump["zero_elements"] == 128
    assert node.sluice("map", "dump", "sl_meta").stdout.startswith("KEY  VALUE\n0    {\"magic\":")
    assert '"magic": 1936487785' in node.sluice("map", "lookup", "sl_meta", "key", "0").stdout


@pytest.mark.parametrize("words, hint, status", [
    (["dump", "sl_mtea"], "unknown map 'sl_mtea'; did you mean 'sl_meta'?", 2),
    (["dump", "nonsense"], "no map 'nonsense' is pinned in /sys/fs/bpf/sluice-cli; 'sluice map'", 1),
    (["dump", "sl_"], "map 'sl_' is ambiguous: ", 2),
    (["show", "name", "sl_mtea"], "map 'sl_mtea' is not configured; did you mean 'sl_meta'?", 1),
    (["lookup", "sl_meta", "key", "1"], "has no element of that key; 'sluice map dump sl_meta'", 1),
    (["lookup", "sl_meta", "key", "4294967296"], "expected a whole number of 0 to 4294967295", 2),
    (["lookup", "sl_meta", "hex", "00"], "has 4 bytes, so expected 8 digits", 2),
    (["lookup", "sl_meta", "hex", "0000000g"], "has 4 bytes, so expected 8 digits", 2),
    (["lookup", "sl_tuple_list", "key", "1"], "has 24 bytes: give them with 'hex BYTES'", 2),
    (["lookup", "sl_meta"], "one of 'key NUMBER' and 'hex BYTES'", 2),
])
def test_errors_of_maps_say_what_to_do(dead, words, hint, status):
    text = dead.sluice("map", *words)
    assert (text.returncode, text.stdout) == (status, "") and text.stderr.startswith("Error: ")
    assert hint in text.stderr
    answer = dead.sluice("-j", "map", *words)
    assert answer.returncode == status and answer.stderr == ""
    assert hint in json.loads(answer.stdout)["error"]


def test_nobody_may_not_read_pins(dead):
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    for command in (["prog"], ["map"], ["map", "dump", "sl_meta"], ["stats"], ["deny"], ["deny", "counters"],
                    ["deny", "add", "198.51.100.7"], ["prog", "reload"], ["prog", "unload"],
                    ["status"]):
        for form in ([], ["-j"]):
            # Through its descriptor: the build may lie where nobody cannot go.
            with open(SLUICE, "rb") as file:
                result = subprocess.run(
                    dead.inside([*drop, f"/proc/self/fd/{file.fileno()}", *form, *command]),
                    env=dead.env, capture_output=True, text=True, timeout=60, check=False,
                    pass_fds=[file.fileno()])
            assert result.returncode == 1, (command, result)
            said = json.loads(result.stdout)["error"] if form else result.stderr
            assert "run as root" in said, (command, said)
            assert (result.stderr if form else result.stdout) == ""


def test_no_state_directory_is_made_where_nothing_is_pinned(dead):
    state = dead.dir + "/fresh"
    result = dead.sluice("--bpffs", "/sys/fs/bpf/none", "--state-dir", state, "deny", "add", "1.2.3.4")
    assert result.returncode == 1 and not os.path.exists(state)


def test_config_is_checked_by_sluiced_after_a_kill(dead):
    assert dead.json("config", "check", "file", dead.file)["valid"] is True
    with open(dead.file, "a", encoding="utf-8") as file:
        file.write("nonsense: 1\n")
    doc = dead.json("config", "check", "file", dead.file)
    assert "nonsense" in doc["error"] and doc["errors"][0] == doc["error"]
