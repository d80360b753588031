"""Where redirects lead: what the route does not name is as the client asked for it."""
import pytest

from lib.daemon import daemon
from lib.netns import CLIENT, SLUICE
from lib.wire import Wire, request

pytestmark = pytest.mark.one_engine

CONFIG = f"""
listeners:
  - {{ name: web, address: [ "{SLUICE}:80", "{SLUICE}:8095" ] }}
routes:
  - {{ name: scheme, match: {{ hosts: [ scheme.test ] }}, redirect: {{ scheme: https }} }}
  - {{ name: down, match: {{ hosts: [ down.test ] }}, redirect: {{ scheme: http }} }}
  - {{ name: host, match: {{ hosts: [ host.test ] }},
      redirect: {{ host: new.test, status: 301 }} }}
  - {{ name: path, match: {{ hosts: [ path.test, "[fd00::1]" ] }}, redirect: {{ path: /new }} }}
  - {{ name: port, match: {{ hosts: [ port.test ] }}, redirect: {{ port: 8443 }} }}
  - {{ name: own-port, match: {{ hosts: [ own-port.test ] }},
      redirect: {{ scheme: https, port: 443 }} }}
  - {{ name: hostless, match: {{ path: {{ exact: /hostless }} }}, redirect: {{ scheme: https }} }}
"""
PROXY = CLIENT[2]

ROWS = [
    # host, target, location
    ("scheme.test", "/a?b=c", "https://scheme.test/a?b=c"),
    ("scheme.test:8095", "/a", "https://scheme.test/a"),    # the port was that of http
    ("down.test:8095", "/a", "http://down.test:8095/a"),
    ("host.test", "/a/../b", "http://new.test/b"),
    ("host.test:8095", "/a", "http://new.test:8095/a"),
    ("path.test", "/a?q", "http://path.test/new?q"),
    ("path.test:80", "/a", "http://path.test/new"),         # the scheme's own is not written
    ("path.test:8095", "/a", "http://path.test:8095/new"),
    ("[fd00::1]:8095", "/a", "http://[fd00::1]:8095/new"),
    ("port.test", "/a", "http://port.test:8443/a"),
    ("port.test:8095", "/a", "http://port.test:8443/a"),
    ("own-port.test:8095", "/", "https://own-port.test/"),
]


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(f"  trusted_proxies: [ {PROXY} ]\n" + CONFIG)
        yield sluice.start()


def location(node, asked, **kwargs):
    with Wire(node.topology.connect("client", SLUICE, 80, **kwargs)) as wire:
        wire.send(asked)
        return wire.read_response().get("location")


def test_scheme_host_port_and_path_of_a_redirect(node):
    got = [(host, target, location(node, request(target, host=host))) for host, target, _ in ROWS]
    assert got == ROWS


def test_behind_a_trusted_proxy_redirects_stay_on_the_public_side(node):
    fields = ["X-Forwarded-Proto: https", "X-Forwarded-Host: www.test:8443"]
    rows = {
        "path.test": "https://www.test:8443/new",
        "host.test": "https://new.test:8443/a",
        "down.test": "http://www.test/a",
        "port.test": "https://www.test:8443/a",
    }
    got = {host: location(node, request("/a", host=host, fields=fields), source=PROXY)
           for host in rows}
    assert got == rows
    # From anybody else these fields are nothing.
    assert location(node, request("/a", host="path.test", fields=fields)) == "http://path.test/new"


def test_redirect_without_any_host_is_refused(node):
    with Wire(node.topology.connect("client", SLUICE, 80)) as wire:
        wire.send(b"GET /hostless HTTP/1.0\r\n\r\n")
        assert wire.read_response().status == 400
