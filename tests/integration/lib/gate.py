"""Requests through a gateway's policies by either protocol, and what of them the backend saw."""
import json

from .backend import RawBackend
from .http2 import Http2
from .netns import BACKEND, SLUICE
from .prometheus import PORT, Page
from .wait import wait_until
from .wire import Wire, request

BACKEND_PORT = 9350
HEAD = f"""  access_log: {{ file: "{{log}}" }}
  metrics: "{SLUICE}:{PORT}"
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams: [ {{ name: app, endpoints: [ "{BACKEND[0]}:{BACKEND_PORT}" ] }} ]
"""


class Gate:
    """A daemon whose routes go to one backend. Not started."""

    def __init__(self, topology, sluice):
        self.topology = topology
        self.sluice = sluice
        self.backend = None
        self.log = sluice.directory / "log" / "access.log"
        self.protocol = "http1"

    def configure(self, body):
        self.sluice.configure(HEAD.replace("{log}", str(self.log)) + body)

    def write(self, name, text):
        (self.sluice.directory / name).write_text(text)

    def open_backend(self):
        self.backend = RawBackend(self.topology, BACKEND[0], BACKEND_PORT)
        return self.backend

    def ask(self, target="/", host="lane.test", fields=(), method="GET", body=None):
        """(status, the answer's fields as a list of (name, value), its body)"""
        sock = self.topology.connect("client", SLUICE, 80)
        if self.protocol == "http2":
            client = Http2(sock)
            pairs = [tuple(part.strip() for part in line.split(":", 1)) for line in fields]
            answer = client.ask(target, method, host,
                                [(name.lower(), value) for name, value in pairs], body)
            client.close()
            return answer.status, answer.fields, answer.body
        with Wire(sock) as wire:
            answer = wire.ask(target, method, fields, body, host)
            return answer.status, [(name.lower(), value) for name, value in answer.fields], \
                answer.body

    def status(self, *args, **kwargs):
        return self.ask(*args, **kwargs)[0]

    def asked(self, *args, **kwargs):
        """What the backend got of a request that was let through."""
        before = len(self.backend.requests)
        status, _, body = self.ask(*args, **kwargs)
        assert status == 200, (status, body)
        assert len(self.backend.requests) == before + 1
        return self.backend.requests[-1]

    def last_line(self, **wanted):
        """The newest line of the access log with these members."""
        found = []

        def is_there():
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            found[:] = [line for line in map(json.loads, lines)
                        if all(line.get(key) == value for key, value in wanted.items())]
            return found

        wait_until(is_there, f"a line with {wanted}")
        return found[-1]

    def metric(self, name, **labels):
        with Wire(self.topology.connect("client", SLUICE, PORT)) as wire:
            wire.send(request("/metrics"))
            page = Page(wire.read_response().body.decode())
        return page.samples.get((name, tuple(sorted(labels.items()))), 0)

    def refusals(self, policy, reason):
        return self.metric("sluice_policy_refusals_total", policy=policy, reason=reason)


def all_of(fields, name):
    return [value for key, value in fields if key == name]
