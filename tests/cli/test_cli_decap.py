"""`sluice decap` on a veth pair, in a mount and a network namespace of its own."""
import json
import os
import subprocess

import pytest

from conftest import SLUICE

NAMESPACE = ("mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && "
             "ip link add dec0 type veth peer name dec1 && echo made && exec cat")
DIR = "/sys/fs/bpf/sluice-decap"


@pytest.fixture
def backend(sluice_binary):
    """Runs `sluice` there, or another command."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    shell = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", NAMESPACE], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    try:
        if shell.stdout.readline() != b"made\n":
            pytest.skip("namespaces with bpffs and veth cannot be made here")
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}

        def run(*args, command=SLUICE):
            return subprocess.run(["nsenter", f"--mount=/proc/{shell.pid}/ns/mnt",
                                   f"--net=/proc/{shell.pid}/ns/net", command, *args], env=env,
                                  capture_output=True, text=True, timeout=60, check=False)
        yield run
    finally:
        shell.stdin.close()
        shell.wait(60)
        shell.stdout.close()


def error_of(result):
    assert result.returncode == 1 and result.stderr == "", result
    doc = json.loads(result.stdout)
    assert set(doc) == {"error"}
    return doc["error"]


def shown(backend):
    result = backend("-j", "decap")
    assert result.returncode == 0 and result.stderr == "", result
    return json.loads(result.stdout)


def test_attach_show_and_detach(backend):
    assert shown(backend) == {"interfaces": [], "counters": [], "bpffs": DIR}
    attached = backend("-j", "decap", "attach", "dev", "dec0", "source", "10.1.0.0/24", "address",
                       "10.1.0.11", "address", "fd01::11", "source", "fd01::/64")
    assert attached.returncode == 0, attached
    assert json.loads(attached.stdout) == {
        "attached": "dec0", "bpffs": DIR, "addresses": ["10.1.0.11", "fd01::11"],
        "sources": ["10.1.0.0/24", "fd01::/64"]}
    doc = shown(backend)
    interface, = doc["interfaces"]
    assert interface.pop("program_id") > 0
    assert interface == {"name": "dec0", "attached": True, "mode": "native",
                         "addresses": ["10.1.0.11", "fd01::11"],
                         "sources": ["10.1.0.0/24", "fd01::/64"], "opened": 0, "dropped": 0}
    assert {row["verdict"] for row in doc["counters"]} == {"pass", "open", "drop"}
    assert {"v4_in_v4", "v6_in_v6", "v4_in_v6", "source", "inner_ttl"} < {
        row["name"] for row in doc["counters"]}
    text = backend("decap", "list").stdout
    assert "addresses  10.1.0.11, fd01::11\n" in text and "INTERFACE  REASON" in text
    detached = backend("-j", "decap", "detach", "dev", "dec0")
    assert json.loads(detached.stdout) == {"detached": "dec0"}
    assert shown(backend)["interfaces"] == []
    assert backend("-e", DIR, command="/usr/bin/test").returncode == 1


def test_counters_count_what_the_interface_gets(backend):
    assert backend("decap", "attach", "dev", "dec0", "address", "10.1.0.11").returncode == 0
    for name in ("dec0", "dec1"):
        assert backend("link", "set", name, "up", command="ip").returncode == 0
    script = """import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("dec1", 0))
def ip(protocol, source, target, payload):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xffff) + head[12:] + payload
inner = ip(17, "192.0.2.1", "192.0.2.2", bytes(8))
link = b"\\xff" * 6 + b"\\2" + bytes(5) + b"\\x08\\0"
for frame in (ip(4, "10.1.0.1", "10.1.0.11", inner), ip(4, "10.1.0.1", "10.1.0.12", inner),
              ip(4, "10.1.0.1", "10.1.0.11", inner[:-1])):
    s.send(link + frame)
"""
    sent = backend("-c", script, command="/usr/bin/python3")
    assert sent.returncode == 0, sent
    rows = {row["name"]: row["packets"] for row in shown(backend)["counters"]}
    assert (rows["v4_in_v4"], rows["pass_address"], rows["inner_length"]) == (1, 1, 1)
    assert backend("decap", "detach", "dec0").returncode == 0


def test_errors_say_what_to_do_next(backend):
    attach = ("-j", "decap", "attach", "address", "10.1.0.11", "dev")
    assert "did you mean 'dec" in error_of(backend(*attach, "deco"))
    assert backend(*attach, "dec0").returncode == 0
    assert "detach it first" in error_of(backend(*attach, "dec0"))
    assert "another XDP program" in error_of(backend("--bpffs", "/sys/fs/bpf/two", *attach, "dec0"))
    assert "nothing is attached to 'dec1'" in error_of(backend("-j", "decap", "detach", "dec1"))
    assert "not on a bpffs" in error_of(backend("--bpffs", "/tmp/none", *attach, "dec1"))
    assert backend("link", "del", "dec0", command="ip").returncode == 0
    interface, = shown(backend)["interfaces"]
    assert interface["attached"] is False and interface["mode"] is None
    assert "there is no such device" in backend("decap").stdout
    assert backend("decap", "detach", "dec0").returncode == 0
    assert shown(backend)["interfaces"] == []
