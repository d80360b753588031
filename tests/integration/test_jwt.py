"""Callers that show a signed token: who gets in, what the backend is told, keys that change."""
import pytest

from lib.daemon import daemon
from lib.gate import Gate, all_of
from lib.tokens import ISSUER, Issuer, b64, jwks

OLD, NEW = Issuer("old"), Issuer("new")
CONFIG = f"""
policies:
  - {{ name: users, jwt: {{ issuer: "{ISSUER}", audience: shop, algorithms: [ ES256 ],
      jwks: {{ file: jwks.json }}, groups: groups,
      forward: {{ sub: x-user, email: x-email, groups: x-groups }} }} }}
  - {{ name: perhaps, jwt: {{ issuer: "{ISSUER}", algorithms: ES256, jwks: {{ file: jwks.json }},
      optional: true, keep_credentials: false, forward: {{ sub: x-user }} }} }}
  - {{ name: admins, authorize: {{ group: admin }} }}
routes:
  - {{ name: api, match: {{ hosts: [ api.test ] }}, policies: [ users ], proxy: {{ upstream: app }} }}
  - {{ name: admin, match: {{ hosts: [ admin.test ] }}, policies: [ users, admins ],
      proxy: {{ upstream: app }} }}
  - {{ name: perhaps, match: {{ hosts: [ perhaps.test ] }}, policies: [ perhaps ],
      proxy: {{ upstream: app }} }}
"""


@pytest.fixture(scope="module")
def house(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        gate = Gate(topology, sluice)
        gate.write("jwks.json", jwks(OLD))
        gate.configure(CONFIG)
        sluice.start()
        yield gate


def bearer(token):
    return f"Authorization: Bearer {token}"


def test_token_lets_in_and_its_claims_go_upstream(gate):
    token = OLD.sign(sub="ann", aud="shop", email="ann@shop.test", groups=["a", "b"])
    for _ in range(3):  # verified, then known
        seen = gate.asked("/", "api.test", [bearer(token), "X-User: root", "x_email: x"])
        assert [(name.lower(), value) for name, value in seen.fields
                if name.lower().startswith(("x-user", "x_email", "x-email", "x-groups"))] == \
            [("x-user", "ann"), ("x-email", "ann@shop.test"), ("x-groups", "a,b")]
        assert seen.all("authorization") == [f"Bearer {token}"]
    assert gate.last_line(route="api", status=200)["consumer"] == "ann"
    assert gate.asked("/", "perhaps.test", [bearer(token)]).all("authorization") == []
    assert gate.asked("/", "perhaps.test", ["X-User: root"]).all("x-user") == []


def test_what_is_no_good_token_is_refused(gate):
    good = OLD.sign(sub="ann", aud="shop")
    head, payload, signature = good.split(".")
    for token, why in (
            (NEW.sign(sub="ann", aud="shop"), "key is not known"),
            (Issuer("old").sign(sub="ann", aud="shop"), "signature is wrong"),
            (OLD.sign(sub="ann", aud="other"), "audience is another one"),
            (OLD.sign(sub="ann", aud="shop", iss="https://evil.test/"), "issuer is another one"),
            (OLD.sign(sub="ann", aud="shop", lifetime_s=-60), "token has expired"),
            (OLD.sign({"alg": "none"}, sub="ann", aud="shop"), "algorithm is not allowed"),
            (f"{b64(b'{' + b'}')}.{payload}.{signature}", "algorithm is not allowed"),
            (f"{head}.{payload}.", "signature is wrong"),
            (f"{head}.{payload}", "is no token"),
            (OLD.sign(aud="shop", sub="a\r\nx-admin: 1"), "claim 'sub' cannot stand in a field")):
        status, answer, _ = gate.ask("/", "api.test", [bearer(token)])
        assert status == 401, why
        assert all_of(answer, "www-authenticate")[0].startswith("Bearer"), why
        gate.last_line(reason=f"authentication failed: policy 'users': {why}")
    status, answer, _ = gate.ask("/", "api.test")
    assert (status, all_of(answer, "www-authenticate")) == (401, ["Bearer"])
    assert gate.backend.requests == []
    assert good not in gate.log.read_text()


def test_rules_see_what_the_token_says(gate):
    assert gate.status("/", "admin.test", [bearer(OLD.sign(aud="shop", groups=["admin"]))]) == 200
    assert gate.status("/", "admin.test", [bearer(OLD.sign(aud="shop", groups=["adm"]))]) == 403
    assert gate.status("/", "admin.test", [bearer(OLD.sign(aud="shop", admin=True))]) == 403
    assert gate.status("/", "admin.test") == 401


def test_keys_are_exchanged_by_a_reload_and_the_old_ones_are_forgotten(gate):
    old, new = OLD.sign(sub="ann", aud="shop"), NEW.sign(sub="bob", aud="shop")
    assert gate.status("/", "api.test", [bearer(old)]) == 200  # known to the cache from here on
    gate.write("jwks.json", jwks(OLD, NEW))
    gate.sluice.reload()
    for token, user in ((old, "ann"), (new, "bob")):
        assert gate.asked("/", "api.test", [bearer(token)]).all("x-user") == [user]
    gate.write("jwks.json", jwks(NEW))
    gate.sluice.reload()
    assert gate.status("/", "api.test", [bearer(old)]) == 401
    assert gate.status("/", "api.test", [bearer(new)]) == 200
    gate.write("jwks.json", jwks(OLD))
    gate.sluice.reload()
    assert gate.status("/", "api.test", [bearer(new)]) == 401
