"""Callers that show an API key: who gets in, what the backend is told, what is written down."""
import hashlib

import pytest

from lib.daemon import daemon
from lib.gate import Gate, all_of

KEY, OTHER = "k3y-of-acme", "k3y-of-globex"


def line(consumer, key, rest=""):
    return f"{consumer} sha256:{hashlib.sha256(key.encode()).hexdigest()} {rest}\n"


KEYS = line("acme", KEY, "groups=partners,eu plan=gold") + line("globex", OTHER)
CONFIG = """
policies:
  - { name: partners, api_key: { header: x-api-key, keys: { file: keys.txt },
      forward: { consumer: x-consumer, plan: x-plan } } }
  - { name: links, api_key: { query: api_key, keys: { file: keys.txt }, forward: x-consumer } }
  - { name: perhaps, api_key: { header: x-api-key, optional: true, keys: { file: keys.txt },
      forward: x-consumer } }
routes:
  - { name: api, match: { hosts: [ api.test ] }, policies: [ partners ], proxy: { upstream: app } }
  - { name: links, match: { hosts: [ links.test ] }, policies: [ links ], proxy: { upstream: app } }
  - { name: perhaps, match: { hosts: [ perhaps.test ] }, policies: [ perhaps ],
      proxy: { upstream: app, trailers: true } }
  - { name: own, match: { hosts: [ own.test ] }, policies: [ partners ],
      respond: { status: 200, body: hello } }
"""


@pytest.fixture(scope="module")
def house(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        gate = Gate(topology, sluice)
        gate.write("keys.txt", KEYS)
        gate.configure(CONFIG)
        sluice.start()
        yield gate


def test_key_lets_in_and_the_backend_learns_who_it_is(gate):
    seen = gate.asked("/a?x=1", "api.test", [f"X-API-Key: {KEY}"])
    assert (seen.target, seen.all("x-consumer"), seen.all("x-plan")) == \
        ("/a?x=1", ["acme"], ["gold"])
    assert seen.all("x-api-key") == []
    seen = gate.asked("/", "api.test", [f"x-api-key: {OTHER}"])
    assert (seen.all("x-consumer"), seen.all("x-plan")) == (["globex"], [])
    assert gate.status("/", "own.test", [f"x-api-key: {KEY}"]) == 200
    assert gate.last_line(route="own", status=200)["consumer"] == "acme"


def test_others_hear_401_and_the_log_says_which_policy_and_why(gate):
    for fields, said, rule, reason in (
            ([], "authentication required", "no credentials", "no_credentials"),
            (["x-api-key: guess"], "authentication failed", "key is not known",
             "bad_credentials")):
        before = gate.refusals("partners", reason)
        status, answer, body = gate.ask("/secret", "api.test", fields)
        assert (status, all_of(answer, "www-authenticate")) == (401, ["ApiKey"])
        assert body.decode() == f"401 Unauthorized: {said}\n"
        logged = gate.last_line(route="api", reason=f"{said}: policy 'partners': {rule}")
        assert "consumer" not in logged
        assert gate.refusals("partners", reason) == before + 1
    assert gate.status("/", "own.test") == 401
    assert gate.backend.requests == []


def test_body_of_a_refused_request_does_not_matter(gate):
    assert gate.status("/", "api.test", method="POST", body=b"x" * 1000) == 401
    assert gate.asked("/", "api.test", [f"x-api-key: {KEY}"], "POST", b"x" * 100000).body == \
        b"x" * 100000


SPELLINGS = ["X-Consumer: root", "x_consumer: root", "X.Consumer: root", "x-CONSUMER: root"]


def test_client_cannot_say_who_it_is_in_any_spelling(gate):
    """19, 20: also where authentication is optional and the client shows nothing."""
    seen = gate.asked("/", "api.test", SPELLINGS + [f"x-api-key: {KEY}"])
    assert [value for name, value in seen.fields
            if name.lower().replace("_", "-").replace(".", "-") == "x-consumer"] == ["acme"]
    seen = gate.asked("/", "perhaps.test", SPELLINGS)
    assert not [name for name, _ in seen.fields if "consumer" in name.lower()]


def test_connection_field_does_not_take_our_fields_away(house):
    """21"""
    house.protocol = "http1"
    with house.open_backend() as backend:
        seen = house.asked("/", "api.test", ["Connection: x-consumer, x-plan, keep-alive",
                                             f"x-api-key: {KEY}"])
        assert (seen.all("x-consumer"), seen.all("x-plan")) == (["acme"], ["gold"])
    backend.check()


def test_trailer_cannot_say_who_the_client_is(house):
    from lib.netns import SLUICE
    from lib.wire import Wire

    with house.open_backend() as backend:
        with Wire(house.topology.connect("client", SLUICE, 80)) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: perhaps.test\r\nTransfer-Encoding: chunked\r\n"
                      b"TE: trailers\r\n\r\n2\r\nok\r\n0\r\nX_Consumer: root\r\nx-sum: 1\r\n\r\n")
            assert wire.read_response().status == 200
        assert backend.requests[-1].trailers == [("x-sum", "1")]
    backend.check()


def test_optional_key_may_be_absent_but_not_wrong(gate):
    assert gate.asked("/", "perhaps.test").all("x-consumer") == []
    assert gate.asked("/", "perhaps.test", [f"x-api-key: {KEY}"]).all("x-consumer") == ["acme"]
    assert gate.status("/", "perhaps.test", ["x-api-key: guess"]) == 401


def test_key_in_the_query_stays_here(gate):
    seen = gate.asked(f"/a?x=1&api%5Fkey={KEY}&y=2", "links.test")
    assert (seen.target, seen.all("x-consumer")) == ("/a?x=1&y=2", ["acme"])
    gate.last_line(target="/a?x=1&api%5Fkey=***&y=2")
    assert gate.status("/a?api_key=guess", "links.test") == 401
    gate.last_line(target="/a?api_key=***")
    assert KEY not in gate.log.read_text() and "guess" not in gate.log.read_text()


def test_reload_reads_the_keys_again(gate):
    assert gate.status("/", "api.test", ["x-api-key: new"]) == 401
    before = gate.refusals("partners", "bad_credentials")
    gate.write("keys.txt", KEYS + line("initech", "new"))
    gate.sluice.reload()
    assert gate.asked("/", "api.test", ["x-api-key: new"]).all("x-consumer") == ["initech"]
    assert gate.refusals("partners", "bad_credentials") == before  # counters go on
    gate.write("keys.txt", "initech new\n")
    done = gate.sluice.cli("config", "reload")
    assert done.returncode != 0 and "keys.txt:1:9: expected 'sha256:'" in done.stderr
    assert gate.status("/", "api.test", ["x-api-key: new"]) == 200
    gate.write("keys.txt", KEYS)
    gate.sluice.reload()
    assert gate.status("/", "api.test", ["x-api-key: new"]) == 401
