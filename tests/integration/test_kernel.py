"""The kernel part in use: deny and allow by XDP, steering by sk_lookup, and life without both."""
import os
import re

import pytest

from lib.dataplane import CONFIG, PREFIX, assert_dropped, configure, reach
from lib.netns import CLIENT, CLIENT6, SLUICE, SLUICE6
from lib.programs import status_fields
from lib.wait import wait_until

pytestmark = pytest.mark.one_engine

@pytest.mark.parametrize("xdp", ["native", "generic"])
def test_denied_addresses_are_dropped_and_others_served(sluice, topology, xdp):
    configure(sluice, xdp, deny=f"{CLIENT[1]}, {{ cidr: '{CLIENT6[1]}', reason: scanner }}, "
                                f"{{ cidr: 10.77.1.4/31, ttl: 1h }}")
    sluice.start()
    assert [each["mode"] for each in sluice.admin("/v1/status")["dataplane"]["interfaces"]] == [xdp]
    assert reach(topology, source=CLIENT[0])
    assert reach(topology, SLUICE6, source=CLIENT6[0])
    assert_dropped(sluice, topology, CLIENT[1])
    assert_dropped(sluice, topology, CLIENT6[1], SLUICE6)
    assert_dropped(sluice, topology, CLIENT[2])  # 10.77.1.4/31 holds .4 and .5
    assert_dropped(sluice, topology, CLIENT[3])
    assert reach(topology, source=CLIENT[0])


def test_allow_wins_over_deny(sluice, topology):
    configure(sluice, allow=CLIENT[1], deny="10.77.1.0/28")
    sluice.start()
    before = sluice.dropped("allow")
    assert reach(topology, source=CLIENT[1])
    assert sluice.dropped("allow") > before
    assert_dropped(sluice, topology, CLIENT[0])


def test_deny_by_cli_takes_effect_at_once_and_can_be_taken_back(sluice, topology):
    configure(sluice)
    sluice.start()
    for cidr, source, address in ((f"{CLIENT[1]}", CLIENT[1], SLUICE),
                                  (f"{CLIENT6[1]}", CLIENT6[1], SLUICE6),
                                  ("10.77.1.4/31", CLIENT[3], SLUICE),
                                  ("fd77:1::4/127", CLIENT6[3], SLUICE6)):
        assert reach(topology, address, source=source)
        sluice.cli("deny", "add", cidr, "reason", "test", check=True)
        assert_dropped(sluice, topology, source, address)
        assert reach(topology, source=CLIENT[0])
        sluice.cli("deny", "delete", cidr, check=True)
        assert reach(topology, address, source=source)
    assert sluice.cli_json("deny", "show")["entries"] == []


def test_entries_of_the_list_say_where_they_are_from(sluice):
    configure(sluice, deny="{ cidr: 203.0.113.0/24, reason: scanner, ttl: 24h }")
    sluice.start()
    sluice.cli("deny", "add", "192.0.2.0/24", "reason", "by hand", "ttl", "1h", check=True)
    entries = {each["cidr"]: each for each in sluice.cli_json("deny", "show")["entries"]}
    assert set(entries) == {"203.0.113.0/24", "192.0.2.0/24"}
    assert entries["203.0.113.0/24"]["origin"] == "config"
    assert entries["203.0.113.0/24"]["reason"] == "scanner"
    assert entries["192.0.2.0/24"]["origin"] == "cli"
    assert 0 < entries["192.0.2.0/24"]["ttl_s"] <= 3600
    # A reload replaces what is from the file and keeps what people did.
    configure(sluice, deny="198.18.0.0/15")
    sluice.reload()
    assert {each["cidr"] for each in sluice.cli_json("deny", "show")["entries"]} == {
        "198.18.0.0/15", "192.0.2.0/24"}


def test_deny_with_a_ttl_ends_by_itself(sluice, topology):
    configure(sluice)
    sluice.start()
    sluice.cli("deny", "add", CLIENT[1], "ttl", "2s", check=True)
    assert_dropped(sluice, topology, CLIENT[1])
    wait_until(lambda: sluice.cli_json("deny", "show")["entries"] == [], "the entry expired")
    assert reach(topology, source=CLIENT[1])


def test_deny_file_is_read_and_its_errors_name_its_lines(sluice, topology):
    path = sluice.directory / "deny.txt"
    path.write_text(f"# a comment\n\n{CLIENT[1]}\n{CLIENT6[1]}/128  # and another\n")
    configure(sluice, deny="{ file: deny.txt, reason: feed }")
    sluice.start()
    assert_dropped(sluice, topology, CLIENT[1])
    assert_dropped(sluice, topology, CLIENT6[1], SLUICE6)
    path.write_text(f"# a comment\n{CLIENT[1]}/99\n")
    done = sluice.cli("config", "reload")
    assert done.returncode != 0 and re.search(r"deny\.txt:2", done.stderr), done.stderr
    assert_dropped(sluice, topology, CLIENT[1])


def test_interface_can_be_added_and_left_by_a_reload(sluice, topology):
    configure(sluice, "off", deny=CLIENT[1])
    sluice.start()
    assert reach(topology, source=CLIENT[1])
    configure(sluice, "auto", deny=CLIENT[1])
    sluice.reload()
    assert_dropped(sluice, topology, CLIENT[1])
    configure(sluice, "off", deny=CLIENT[1])
    sluice.reload()
    assert reach(topology, source=CLIENT[1])


def test_hardening_33_interface_is_added_below_a_bpffs_that_others_may_not_enter(sluice, topology):
    """As systemd mounts it: the daemon's user owns its pins and cannot walk to them by name."""
    os.chmod(os.path.dirname(sluice.bpffs), 0o700)
    try:
        configure(sluice, "off", deny=CLIENT[1])
        sluice.start()
        configure(sluice, "auto", deny=CLIENT[1])
        sluice.reload()
        assert_dropped(sluice, topology, CLIENT[1])
    finally:
        os.chmod(os.path.dirname(sluice.bpffs), 0o755)


# -- steering

def test_prefixes_and_port_ranges_are_served_and_nothing_beside_them(sluice, topology):
    configure(sluice)
    sluice.start()
    assert sluice.admin("/v1/status")["steering"]["mode"] == "sk_lookup"
    for address in ("198.51.100.0", "198.51.100.1", "198.51.100.77", "198.51.100.255"):
        for port in (8000, 8005, 8010):
            assert reach(topology, address, port)
    for last in ("", "1", "ffff:ffff:ffff:ffff"):
        assert reach(topology, f"2001:db8:77::{last}", 8000, source=CLIENT6[0])
    for address, port, source in (("198.51.100.77", 7999, CLIENT[0]),
                                  ("198.51.100.77", 8011, CLIENT[0]),
                                  ("198.51.100.77", 80, CLIENT[0]), (SLUICE, 8000, CLIENT[0]),
                                  (SLUICE6, 8000, CLIENT6[0])):
        with pytest.raises(ConnectionRefusedError):
            reach(topology, address, port, source)
    # No address was added to a device for it.
    assert "198.51.100" not in topology.ip("sluice", "address", "show").stdout
    assert len(sluice.local_routes().splitlines()) == 2


def test_prefixes_come_and_go_with_their_routes(sluice, topology):
    configure(sluice)
    sluice.start()
    assert reach(topology, "198.51.100.9", 8000)
    sluice.configure((CONFIG % ("auto", "", "")).replace("198.51.100.0", "203.0.113.0"))
    sluice.reload()
    wait_until(lambda: reach(topology, "203.0.113.9", 8000), "the new prefix is served")
    assert "198.51.100" not in sluice.local_routes()
    assert len(sluice.local_routes().splitlines()) == 2


def test_the_other_sockets_of_the_node_are_left_alone(sluice, topology):
    configure(sluice)
    sluice.start()
    with topology.listen("sluice", SLUICE, 8222) as listener:
        with topology.connect("client", SLUICE, 8222) as sock:
            accepted, _ = listener.accept()
            accepted.sendall(b"not sluice")
            accepted.close()
            assert sock.recv(100) == b"not sluice"


@pytest.mark.one_engine(False)
def test_all_workers_get_connections(sluice, topology):
    configure(sluice)
    sluice.start()
    sources = CLIENT * 20 + CLIENT6 * 20
    for source in sources:
        reach(topology, SLUICE6 if ":" in source else SLUICE, source=source)
    accepted = [worker["accepted"] for worker in sluice.admin("/v1/status")["workers"]]
    assert len(accepted) == 2 and sum(accepted) == len(sources)


def without_bpf(sluice):
    """As on a kernel or in a container that lets us have none."""
    sluice.capabilities = "-bpf,-perfmon,-sys_admin,-net_admin"
    sluice.configure(f"""
listeners: [ {{ name: web, address: [ "{SLUICE}:80", "[{SLUICE6}]:80" ] }} ]
routes: [ {{ name: say, respond: {{ status: 200, body: here }} }} ]
""", user="root")
    sluice.write(sluice.config_path.read_text().replace("  user: root\n", ""))


@pytest.mark.one_engine(False)
def test_without_bpf_addresses_are_bound_and_served(sluice, topology):
    without_bpf(sluice)
    sluice.start()
    status = sluice.admin("/v1/status")
    assert status["steering"]["mode"] == "bind" and status["steering"]["reason"]
    assert status["dataplane"]["available"] is False and status["dataplane"]["reason"]
    for _ in range(20):
        assert reach(topology)
        assert reach(topology, SLUICE6, source=CLIENT6[0])
    assert sluice.admin("/v1/deny", "POST", {"cidr": "192.0.2.1"}, status=503)["error"]


@pytest.mark.one_engine(False)
def test_without_bpf_listeners_come_and_go_with_a_reload(sluice, topology):
    without_bpf(sluice)
    sluice.start()
    sluice.write(sluice.config_path.read_text().replace(f"{SLUICE}:80", f"{SLUICE}:81"))
    sluice.reload()
    assert reach(topology, SLUICE, 81)
    with pytest.raises(ConnectionRefusedError):
        reach(topology, SLUICE, 80)


def test_without_bpf_a_prefix_is_refused_with_the_reason(sluice):
    without_bpf(sluice)
    sluice.write(sluice.config_path.read_text().replace(f"{SLUICE}:80", f"{PREFIX}:80"))
    sluice.launch()
    assert sluice.process.wait(30) != 0
    sluice.log.wait_for("sk_lookup")
    assert "sk_lookup" in sluice.log.text()
    sluice.process = None


# -- privileges

KEPT = {"cap_bpf": 39, "cap_perfmon": 38, "cap_net_admin": 12, "cap_net_raw": 13}


def test_hardening_33_privileges_are_dropped(sluice, topology):
    configure(sluice)
    sluice.start()
    assert reach(topology)
    status = status_fields(sluice.pid)
    assert status["Uid"].split() == ["65534"] * 4, status["Uid"]
    assert status["NoNewPrivs"] == "1"
    kept = sum(1 << bit for bit in KEPT.values())
    assert int(status["CapEff"], 16) == kept and int(status["CapPrm"], 16) == kept
    assert int(status["CapBnd"], 16) in (0, kept) and int(status["CapInh"], 16) == 0
    workers = 0
    for task in os.listdir(f"/proc/{sluice.pid}/task"):
        fields = status_fields(f"{sluice.pid}/task/{task}")
        assert fields["NoNewPrivs"] == "1" and fields["Uid"].split() == ["65534"] * 4, fields
        if task != str(sluice.pid):
            workers += int(fields["CapEff"], 16) == 0
    assert workers >= 2
    told = sluice.admin("/v1/status")["privileges"]
    assert {name.lower() for name in told["capabilities"]} == set(KEPT)
    assert told["no_new_privs"] is True
    assert told["seccomp"] is (status["Seccomp"] == "2")
    # The runtimes of these sanitizers need what the filter forbids.
    assert told["seccomp"] or any(name in os.environ.get("SLUICE_BUILD", "")
                                  for name in ("address", "thread"))


def test_hardening_33_reload_works_without_the_privileges(sluice, topology):
    """Maps, attachments and routes are still ours to change."""
    configure(sluice, "off")
    sluice.start()
    configure(sluice, "auto", deny=CLIENT[1])
    sluice.reload()
    assert_dropped(sluice, topology, CLIENT[1])
    assert reach(topology, "198.51.100.9", 8000)
