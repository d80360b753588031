"""L4 services: from the configuration and from people into the kernel, over reloads and restarts."""
import pytest

from lib.netns import DOWN
from lib.wait import wait_until

pytestmark = pytest.mark.one_engine

CONFIG = f"""
dataplane:
  interfaces: [ {{ name: {DOWN}, xdp: auto }} ]
services:
  - name: dns
    address: [ 198.51.100.53, "2001:db8:77::53" ]
    ports: [ 53, "1000-2000" ]
    protocol: %s
    forward: ipip
    drain: %s
    slots: 1009
    backends: [ %s ]
"""
BACKENDS = '"fd77::11", "fd77::12", { address: "fd77::13", weight: 50 }'


def configure(sluice, backends=BACKENDS, drain="30s", protocol="udp"):
    sluice.configure(CONFIG % (protocol, drain, backends))


def service(sluice):
    services = sluice.cli_json("service", "show", "name", "dns")["services"]
    assert len(services) == 1
    return services[0]


def backends(sluice):
    return {each["address"]: each for each in sluice.cli_json("backend")["backends"]}


def test_services_of_the_file_are_in_the_kernel(sluice):
    configure(sluice)
    sluice.start()
    found = service(sluice)
    assert sorted(found["addresses"]) == [
        "198.51.100.53:1000-2000/udp", "198.51.100.53:53/udp",
        "[2001:db8:77::53]:1000-2000/udp", "[2001:db8:77::53]:53/udp"]
    assert found["slots"] == 1009 and found["phases"]["clean"] == 1009
    slots = {address: each["slots"] for address, each in backends(sluice).items()}
    assert sum(slots.values()) == 1009
    assert abs(slots["fd77::11"] - 404) < 10 and abs(slots["fd77::13"] - 202) < 10


def test_reload_moves_new_connections_by_phases(sluice):
    configure(sluice)
    sluice.start()
    configure(sluice, '"fd77::11", "fd77::12", "fd77::14"')
    sluice.reload()
    states = {address: each["state"] for address, each in backends(sluice).items()}
    assert states == {"fd77::11": "up", "fd77::12": "up", "fd77::13": "removed", "fd77::14": "up"}
    assert backends(sluice)["fd77::13"]["slots"] == 0
    assert service(sluice)["phases"]["record"] > 0  # UDP has no SYN
    sluice.configure("")
    sluice.reload()
    assert sluice.cli_json("service")["services"] == []


def test_removed_backend_goes_when_its_drain_is_over(sluice):
    configure(sluice, drain="1s")
    sluice.start()
    configure(sluice, '"fd77::11", "fd77::12"', drain="1s")
    sluice.reload()
    wait_until(lambda: "fd77::13" not in backends(sluice), "its number is free", 30)
    events = [each["text"] for each in sluice.cli_json("event")["events"]
              if each["object"] == "dns fd77::13" and each["kind"] == "backend_changed"]
    assert events[-2:] == ["removed: it drains", "its drain is over"]


def test_people_change_backends_and_a_restart_keeps_it(sluice):
    configure(sluice, drain="1h")  # the phases go on when it is over
    sluice.start()
    sluice.cli("backend", "drain", "fd77::11", "service", "dns", check=True)
    sluice.cli("backend", "weight", "fd77::12", "service", "dns", "weight", "10", check=True)
    sluice.cli("backend", "add", "fd77::20", "service", "dns", "weight", "30", check=True)
    sluice.cli("backend", "delete", "fd77::13", "service", "dns", check=True)

    def check(found):
        assert found["fd77::11"]["state"] == "draining" and found["fd77::11"]["slots"] == 0
        assert found["fd77::12"]["weight"] == 10
        assert found["fd77::20"]["origin"] == "cli" and found["fd77::20"]["weight"] == 30
        assert found["fd77::13"]["state"] == "removed"

    check(backends(sluice))
    sluice.reload()
    check(backends(sluice))
    before = service(sluice)
    sluice.stop()
    sluice.start()
    check(backends(sluice))
    after = service(sluice)
    assert after["phases"] == before["phases"]
    assert [(each["address"], each["number"], each["slots"]) for each in after["backends"]] == \
        [(each["address"], each["number"], each["slots"]) for each in before["backends"]]
    sluice.cli("backend", "undrain", "fd77::11", "service", "dns", check=True)
    assert backends(sluice)["fd77::11"]["state"] == "up"


def test_refused_changes_say_why_and_change_nothing(sluice):
    configure(sluice)
    sluice.start()
    before = service(sluice)
    for words, reason in (
            (("drain", "fd77::99", "service", "dns"), "service 'dns' has no backend fd77::99"),
            (("drain", "fd77::11", "service", "dsn"), "there is no service 'dsn'"),
            (("add", "fd77::11", "service", "dns"), "has backend fd77::11 already"),
            (("add", "10.0.0.1", "service", "dns"), "IPv6 packets to IPv6 backends only"),
            (("add", "10.0.0", "service", "dns"), "'10.0.0' is not an IP address"),
            (("weight", "fd77::11", "service", "dns"), "which weight?")):
        done = sluice.cli("backend", *words)
        assert done.returncode != 0 and reason in done.stderr, done.stderr
    assert service(sluice) == before


def test_without_a_daemon_services_stay_and_are_shown(sluice):
    configure(sluice)
    sluice.start()
    before = service(sluice)
    sluice.kill9()
    assert service(sluice) == before
    done = sluice.cli("backend", "drain", "fd77::11", "service", "dns")
    assert done.returncode == 1 and "would have to be led to other backends in steps" in done.stderr
    done = sluice.cli("service", "delete", "dns")
    assert done.returncode == 1 and "take it out there and reload" in done.stderr
    assert service(sluice) == before


WEB = ("add", "web", "address", "198.51.100.80", "ports", "80,1000-2000", "protocol", "tcp", "forward",
       "ipip", "slots", "211")


def test_people_add_services_with_a_daemon_and_without(sluice):
    configure(sluice)
    sluice.start()
    sluice.cli("service", *WEB, check=True)
    for words, reason in (
            (WEB, "there is a service 'web' already"),
            (("add", "dns") + WEB[2:], "there is a service 'dns' already, in the configuration"),
            (("add", "more") + WEB[2:], "has ports of 198.51.100.80 that service 'web' has, too"),
            (("add", "more") + WEB[2:-4] + ("forward", "nat"), "has ports of 198.51.100.80"),
            (("add", "more", "address", "198.51.100.81") + WEB[4:-4] + ("forward", "nat"),
             "needs 'dataplane.nat.addresses'"),
            (("delete", "dns"), "take it out there and reload"), (("delete", "x"), "no service 'x'")):
        done = sluice.cli("service", *words)
        assert done.returncode == 1 and reason in done.stderr, done.stderr
    sluice.reload()

    def shown():
        return {each["name"]: each for each in sluice.cli_json("service")["services"]}

    assert shown()["web"]["origin"] == "cli" and shown()["dns"]["origin"] == "config"
    assert sorted(shown()["web"]["addresses"]) == [
        "198.51.100.80:1000-2000/tcp", "198.51.100.80:80/tcp"]
    sluice.kill9()
    sluice.cli("backend", "add", "10.9.0.1", "service", "web", check=True)
    done = sluice.cli("backend", "add", "10.9.0.2", "service", "web")
    assert done.returncode == 1 and "connections of service 'web'" in done.stderr
    sluice.cli("service", *(word.replace("web", "late").replace(".80", ".82") for word in WEB), check=True)
    before = shown()
    assert before["web"]["backends"][0]["slots"] == 211 and before["late"]["phases"]["clean"] == 211
    sluice.start()
    assert shown() == before
    # The file must not have it, too; and without a daemon it goes as well.
    sluice.configure(CONFIG.replace("name: dns", "name: late") % ("udp", "30s", '"fd77::11"'))
    done = sluice.cli("config", "reload")
    assert done.returncode == 1 and "sluice service delete late" in done.stderr
    sluice.kill9()
    sluice.cli("service", "delete", "late", check=True)
    assert set(shown()) == {"dns", "web"}
    configure(sluice)
    sluice.start()
    sluice.cli("service", "delete", "web", check=True)
    assert set(shown()) == {"dns"}


def test_service_is_deleted_when_its_drain_is_over(sluice):
    configure(sluice)
    sluice.start()
    sluice.cli("service", *WEB, check=True)
    sluice.cli("backend", "add", "10.9.0.1", "service", "web", check=True)

    def web():
        return next((each for each in sluice.cli_json("service")["services"] if each["name"] == "web"), None)

    assert web()["deleted_in_s"] is None and web()["backends"][0]["slots"] == 211
    assert "service web: draining." in sluice.cli("service", "delete", "web", "drain", "1h", check=True).stdout
    left = web()
    assert 3590 < left["deleted_in_s"] <= 3600 and left["phases"]["split"] == 211
    assert left["backends"][0]["state"] == "draining" and left["backends"][0]["slots"] == 0
    assert "deleted in " in sluice.cli("service", check=True).stdout
    for words, reason in (
            (("service", "delete", "web", "drain", "1s"), "is being deleted already"),
            (("service", "delete", "dns", "drain", "1s"), "take it out there and reload"),
            (("service", *WEB), "there is a service 'web' already"),
            (("backend", "undrain", "10.9.0.1", "service", "web"), "service 'web' is being deleted")):
        done = sluice.cli(*words)
        assert done.returncode == 1 and reason in done.stderr, done.stderr
    sluice.reload()
    assert web()["backends"][0]["slots"] == 0
    # Neither a restart nor a change without a daemon forgets it.
    sluice.kill9()
    assert web()["deleted_in_s"] <= left["deleted_in_s"]
    done = sluice.cli("service", "delete", "web", "drain", "1s")
    assert done.returncode == 1 and "nobody would delete the service" in done.stderr
    sluice.start()
    assert 0 < web()["deleted_in_s"] <= left["deleted_in_s"] and web()["backends"][0]["slots"] == 0
    sluice.cli("service", "delete", "web", check=True)
    assert web() is None
    # And the end of it; the time runs on without a daemon.
    for is_alive in (True, False):
        sluice.cli("service", *WEB, check=True)
        sluice.cli("backend", "add", "10.9.0.1", "service", "web", check=True)
        sluice.cli("service", "delete", "web", "drain", "2s", check=True)
        if not is_alive:
            sluice.kill9()
            wait_until(lambda: web()["deleted_in_s"] == 0, "its time is over")
            sluice.start()
        wait_until(lambda: web() is None, "it is deleted")
    sluice.reload()
    assert web() is None


def test_people_add_services_that_are_probed(sluice):
    configure(sluice)
    sluice.start()
    words = ("add", "web", "address", "198.51.100.80", "ports", "80", "protocol", "tcp", "forward", "ipip",
             "probe", "tcp", "port", "9", "interval", "100ms", "timeout", "50ms", "rise", "1", "fall", "1")
    for wrong, reason in ((words[:-1] + ("0",), "fall: expected 1 to 100"),
                          (words[:10] + words[14:16], "interval goes with 'probe tcp' only"),
                          (words[:10] + ("probe", "http"), "probe: expected tcp")):
        done = sluice.cli("service", *wrong)
        assert done.returncode == 2 and reason in done.stderr, done.stderr
    sluice.cli("service", *words, check=True)
    sluice.cli("backend", "add", "127.0.0.1", "service", "web", check=True)

    def health():
        each = next(each for each in sluice.cli_json("backend")["backends"] if each["service"] == "web")
        return each["health"]

    for _ in range(2):  # and again when it was read from the disk
        wait_until(lambda: health()["probed"] and health()["failed"] > 0, "it was probed")
        assert health()["port"] == 9 and health()["last_error"] == "Connection refused"
        assert health()["state"] == "down"
        sluice.kill9()
        sluice.start()
