"""Callers with user and password: hashes of all kinds, off the event loop."""
import base64
import crypt
import subprocess

import pytest

from lib.daemon import daemon
from lib.gate import Gate, all_of
from lib.netns import SLUICE
from lib.wait import Thread
from lib.wire import Wire, request

CONFIG = """
policies:
  - { name: staff, basic: { realm: staff only, htpasswd: { file: htpasswd }, cached_for: 1m,
      forward: x-user } }
  - { name: slow, basic: { realm: slow, htpasswd: { file: slow }, cached_for: 0s } }
routes:
  - { name: staff, match: { hosts: [ staff.test ] }, policies: [ staff ], proxy: { upstream: app } }
  - { name: slow, match: { hosts: [ slow.test ] }, policies: [ slow ],
      respond: { status: 200, body: in } }
  - { name: open, match: { hosts: [ open.test ] }, respond: { status: 200, body: hello } }
"""


def htpasswd(*options):
    return subprocess.run(["htpasswd", "-nb", *options], capture_output=True, text=True,
                          check=True).stdout.strip() + "\n"


def users():
    return htpasswd("-B", "-C", "5", "bcrypt", "pw-b") + htpasswd("-m", "apr1", "pw-a") + \
        f"sha512:{crypt.crypt('pw-6', crypt.METHOD_SHA512)}\n" + \
        f"sha256:{crypt.crypt('pw-5', crypt.METHOD_SHA256)}\n" + \
        f"yescrypt:{crypt.crypt('pw-y', '$y$j9T$abcdefghijklmnop')}\n"


@pytest.fixture(scope="module")
def house(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        gate = Gate(topology, sluice)
        gate.write("htpasswd", users())
        gate.write("slow", htpasswd("-B", "-C", "9", "slow", "pw"))
        gate.configure(CONFIG)
        sluice.start()
        yield gate


def basic(user, password):
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_every_kind_of_hash_lets_in_its_password(gate):
    for user, password in (("bcrypt", "pw-b"), ("apr1", "pw-a"), ("sha512", "pw-6"),
                           ("sha256", "pw-5"), ("yescrypt", "pw-y")):
        for _ in range(2):  # found out, then remembered
            seen = gate.asked("/", "staff.test", [basic(user, password), "X_User: root"])
            assert seen.all("x-user") == [user] and not seen.all("x_user")
            assert seen.all("authorization") == []
        assert gate.status("/", "staff.test", [basic(user, password + "x")]) == 401
        assert gate.status("/", "staff.test", [basic(user, "")]) == 401
    assert gate.last_line(route="staff", status=200)["consumer"] == "yescrypt"
    assert gate.asked("/", "staff.test", [basic("apr1", "pw-a")], "POST", b"x" * 70000).body == \
        b"x" * 70000


def test_others_are_asked_for_a_password(gate):
    for fields in ([], ["Authorization: Bearer x"], [basic("nobody", "pw-a")],
                   ["Authorization: Basic ???"]):
        status, answer, _ = gate.ask("/", "staff.test", fields)
        assert status == 401
        assert all_of(answer, "www-authenticate") == \
            ['Basic realm="staff only", charset="UTF-8"']
    gate.last_line(reason="authentication failed: policy 'staff': user or password is wrong")
    assert gate.backend.requests == []


def test_requests_go_on_while_passwords_are_checked_and_too_many_are_told(house):
    house.protocol = "http1"
    fields = [basic("slow", "pw")]
    threads = [Thread(house.status, "/", "slow.test", fields) for _ in range(100)]
    assert house.status("/", "open.test") == 200  # the loops are free
    statuses = [thread.finish() for thread in threads]
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 2
    assert house.refusals("slow", "unavailable") == statuses.count(503)


def test_client_that_does_not_wait_costs_nothing_that_stays(house):
    for _ in range(10):
        with Wire(house.topology.connect("client", SLUICE, 80)) as wire:
            wire.send(request("/", "GET", [basic("slow", "pw")], host="slow.test"))
    house.protocol = "http1"
    assert house.status("/", "slow.test", [basic("slow", "pw")]) == 200


def test_reload_reads_the_file_again_and_forgets_old_passwords(gate):
    assert gate.status("/", "staff.test", [basic("apr1", "pw-a")]) == 200
    gate.write("htpasswd", htpasswd("-m", "apr1", "new"))
    gate.sluice.reload()
    assert gate.status("/", "staff.test", [basic("apr1", "pw-a")]) == 401
    assert gate.status("/", "staff.test", [basic("apr1", "new")]) == 200
    gate.write("htpasswd", users())
    gate.sluice.reload()
    assert gate.status("/", "staff.test", [basic("apr1", "pw-a")]) == 200
