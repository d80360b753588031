"""Who may do what: rules over callers, paths, methods and sources, whatever the spelling."""
import hashlib

import pytest

from lib.daemon import daemon
from lib.gate import Gate, all_of
from lib.netns import CLIENT


def line(consumer, key, rest=""):
    return f"{consumer} sha256:{hashlib.sha256(key.encode()).hexdigest()} {rest}\n"


CONFIG = f"""
policies:
  - {{ name: keys, api_key: {{ header: x-key, optional: true, keys: {{ file: keys.txt }} }} }}
  - name: admins
    authorize:
      any:
        - {{ all: [ {{ claim: role, in: [ admin ] }}, {{ method: [ GET, DELETE ] }} ] }}
        - {{ not: {{ path: {{ prefix: /admin }} }} }}
  - {{ name: own-data, authorize: {{ any: [ {{ group: staff }},
      {{ variable: user, equals_claim: id }} ] }} }}
  - {{ name: near, authorize: {{ source: [ {CLIENT[0]}/32 ] }} }}
routes:
  - {{ name: shop, match: {{ hosts: [ shop.test ] }}, policies: [ keys, admins ],
      proxy: {{ upstream: app }} }}
  - {{ name: users, match: {{ hosts: [ users.test ], path: {{ template: "/users/{{user}}" }} }},
      policies: [ keys, own-data ], proxy: {{ upstream: app }} }}
  - {{ name: near, match: {{ hosts: [ near.test ] }}, policies: [ near ],
      proxy: {{ upstream: app }} }}
"""


@pytest.fixture(scope="module")
def house(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        gate = Gate(topology, sluice)
        gate.write("keys.txt", line("root", "r", "role=admin groups=staff") +
                   line("ann", "a", "role=editor id=ann") + line("bob", "b", "id=b%20b"))
        gate.configure(CONFIG)
        sluice.start()
        yield gate


ADMIN_PATHS = ["/admin", "/admin/", "/admin/users?x=1", "/%61dmin/x", "/x/../admin", "/./admin",
               "/a/%2e%2e/admin/x", "/admin/./x", "/admin/x/.."]


def test_spelling_of_a_path_does_not_matter(gate):
    """22: the canonical path decides, which is also what the backend is asked for."""
    for target in ADMIN_PATHS:
        assert gate.status(target, "shop.test", ["x-key: a"]) == 403, target
        assert gate.status(target, "shop.test", ["x-key: r"]) == 200, target
        assert gate.backend.requests[-1].target.startswith("/admin"), target
    for target in ("//admin", "/admin%2f..", "/x/..%2fadmin", "/admin%00", "/admin\\x"):
        assert gate.status(target, "shop.test", ["x-key: a"]) in (400, 403), target
    assert gate.status("/administration", "shop.test") == 200


def test_who_may_not_hears_403_and_who_is_nobody_401(gate):
    status, answer, body = gate.ask("/admin", "shop.test")
    assert (status, all_of(answer, "www-authenticate")) == (401, ["ApiKey"])
    assert body == b"401 Unauthorized: authentication required\n"
    before = gate.refusals("admins", "denied")
    status, answer, body = gate.ask("/admin", "shop.test", ["x-key: a"])
    assert (status, all_of(answer, "www-authenticate")) == (403, [])
    assert body == b"403 Forbidden: not allowed\n"
    logged = gate.last_line(status=403, target="/admin")
    assert logged["reason"] == \
        "not allowed: policy 'admins': does not hold: none of (claim 'role'; not path)"
    assert logged["consumer"] == "ann"
    assert gate.refusals("admins", "denied") == before + 1
    assert gate.status("/admin", "shop.test", ["x-key: r"], "POST", b"x") == 403


def test_a_part_of_the_path_must_be_the_callers_own(gate):
    assert gate.status("/users/ann", "users.test", ["x-key: a"]) == 200
    assert gate.status("/users/%61nn", "users.test", ["x-key: a"]) == 200
    assert gate.status("/users/ANN", "users.test", ["x-key: a"]) == 403
    assert gate.status("/users/bob", "users.test", ["x-key: a"]) == 403
    assert gate.status("/users/x/../ann", "users.test", ["x-key: b"]) == 403
    # The claim is text, not an encoding of one.
    assert gate.status("/users/b%20b", "users.test", ["x-key: b"]) == 403
    assert gate.status("/users/b%2520b", "users.test", ["x-key: b"]) == 200
    assert gate.status("/users/bob", "users.test", ["x-key: r"]) == 200


def test_source_is_the_peer_and_not_what_it_claims(gate):
    assert gate.status("/", "near.test") == 200
    assert gate.status("/", "near.test", ["X-Forwarded-For: 203.0.113.9"]) == 200
    gate.configure(CONFIG.replace(f"{CLIENT[0]}/32", "203.0.113.0/24"))
    gate.sluice.reload()
    assert gate.status("/", "near.test", ["X-Forwarded-For: 203.0.113.9"]) == 403
    gate.configure(CONFIG)
    gate.sluice.reload()
