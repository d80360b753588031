"""
HARDENING 22: paths that readers take apart differently. By default nobody gets them; a route that
allows them by name passes the one canonical form on, and is still matched by it.
"""
import pytest

from lib.backend import RawBackend
from lib.daemon import daemon
from lib.netns import BACKEND, SLUICE
from lib.wire import Wire, request

pytestmark = pytest.mark.one_engine

BACK = (BACKEND[0], 9320)
CONFIG = f"""
listeners:
  - {{ name: web, address: "{SLUICE}:80" }}
upstreams:
  - {{ name: back, endpoints: [ "{BACK[0]}:{BACK[1]}" ] }}
routes:
  - {{ name: strict, match: {{ hosts: [ strict.test ] }}, proxy: {{ upstream: back }} }}
  - {{ name: loose, match: {{ hosts: [ loose.test ] }}, unsafe_paths: allow,
      proxy: {{ upstream: back }} }}
  - {{ name: admin, match: {{ hosts: [ loose.test ], path: {{ prefix: /admin }} }},
      respond: {{ status: 403, body: "no\\n" }} }}
  - {{ name: odd, match: {{ hosts: [ loose.test ], path: {{ exact: "/a%2Fb" }} }},
      unsafe_paths: allow, respond: {{ status: 200, body: "odd\\n" }} }}
  - {{ name: moved, match: {{ hosts: [ moved.test ] }}, unsafe_paths: allow,
      redirect: {{ host: new.test }} }}
"""

AMBIGUOUS = {
    # what is asked: what a backend behind a route that allows it gets
    "/x//y": "/x//y",
    "//x": "//x",
    "//evil.test/x": "//evil.test/x",
    "/x//": "/x//",
    "/x/.//y": "/x//y",
    "/x/../..//y": None,
    "/x%2Fy": "/x%2Fy",
    "/x%2fy": "/x%2Fy",
    "/x/%2f": "/x/%2F",
    "/x%5Cy": "/x%5Cy",
    "/x%5cy": "/x%5Cy",
    "/%61%2f%7e": "/a%2F~",
}
NEVER = [
    "/x%00y", "/%00", "/x%0d%0ay", "/x%7fy", "/x\\y", "/x%", "/x%4", "/x%zz",
    "/..", "/../x", "/x/../../y", "/%2e%2e/x", "/x/%2e%2E/../y",
    "/x//../admin", "/x/..%2fadmin", "/x%2f..%2fadmin", "/x%5c..%5cadmin", "/%2e%2e%2fadmin",
    "/x%2f%2e%2e%2fadmin", "/x%2fy/../admin", "/..%5cadmin", "/x%2f.", "/.%2fx",
]


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology, node):
    with RawBackend(topology, *BACK) as backend:
        yield backend


def connect(node):
    return Wire(node.topology.connect("client", SLUICE, 80))


def ask(node, target, host):
    with connect(node) as wire:
        return wire.ask(target, host=host)


def test_hardening_22_ambiguous_paths_are_refused_by_default(node, backend):
    got = {path: ask(node, path, "strict.test").status for path in [*AMBIGUOUS, *NEVER]}
    assert got == dict.fromkeys(got, 400)
    assert ask(node, "/last", "strict.test").status == 200
    assert [seen.target for seen in backend.requests] == ["/last"]


def test_hardening_22_ambiguous_paths_that_no_route_serves_are_refused(node, backend):
    assert {ask(node, path, "nobody.test").status for path in AMBIGUOUS} == {400}
    assert ask(node, "/plain", "nobody.test").status == 404


def test_hardening_22_a_refusal_of_a_path_ends_the_connection(node, backend):
    with connect(node) as wire:
        wire.send(request("/x%2fy", host="strict.test"), request("/hidden", host="strict.test"))
        assert wire.read_response().status == 400
        assert wire.read_until_close() == b""
    assert backend.connections == []


def test_hardening_22_a_route_that_allows_them_gets_the_canonical_form(node, backend):
    got = {}
    for path in AMBIGUOUS:
        before = len(backend.requests)
        status = ask(node, path + "?q=/../%2f", "loose.test").status
        after = backend.requests[before:]
        got[path] = after[0].target.removesuffix("?q=/../%2f") if status == 200 else None
    assert got == AMBIGUOUS


def test_hardening_22_what_is_never_meant_is_refused_even_there(node, backend):
    got = {path: ask(node, path, "loose.test").status for path in NEVER}
    assert got == dict.fromkeys(got, 400)
    assert backend.connections == []


def test_hardening_22_escapes_are_never_decoded_for_matching(node, backend):
    """A route that forbids a prefix is not got around, nor reached by an escaped slash."""
    got = {path: ask(node, path, "loose.test").status for path in (
        "/admin", "/admin/x", "/%61dmin/x", "/x/../admin", "/admin%2Fx", "/a%2fb")}
    assert got == {"/admin": 403, "/admin/x": 403, "/%61dmin/x": 403, "/x/../admin": 403,
                   "/admin%2Fx": 200, "/a%2fb": 200}
    # "/admin%2Fx" is one segment and no "/admin": its backend gets it as it is.
    assert [seen.target for seen in backend.requests] == ["/admin%2Fx"]


def test_hardening_22_the_route_of_an_ambiguous_prefix_must_allow_it_itself(node, backend):
    """The other route of the host allows it, this one does not."""
    assert ask(node, "/admin//x", "loose.test").status == 400


def test_hardening_22_bytes_that_a_path_cannot_have_are_encoded(node, backend):
    rows = {'/a"b': "/a%22b", "/{a}": "/%7Ba%7D", "/a|b^c`<>": "/a%7Cb%5Ec%60%3C%3E",
            "/%7ba%7d": "/%7Ba%7D"}
    for path, seen in rows.items():
        assert ask(node, path, "strict.test").status == 200, path
        assert backend.requests[-1].target == seen


def test_redirect_of_a_double_slash_stays_on_its_host(node):
    answer = ask(node, "//evil.test/x", "moved.test")
    assert answer.get("location") == "http://new.test//evil.test/x"
