"""A strict reader of Prometheus' text format 0.0.4."""
import re

from .netns import SLUICE
from .wire import Wire, request

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|\Z)')
PORT = 9464


class Page:
    """Samples by (name, labels as a sorted tuple), families by name."""

    def __init__(self, text):
        assert text.endswith("\n")
        self.samples, self.types, self.help = {}, {}, {}
        family = None
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP "):
                family, said = line[7:].split(" ", 1)
                assert family not in self.help, f"{family} comes twice"
                self.help[family] = said
            elif line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                assert name == family and kind in ("counter", "gauge", "histogram"), line
                self.types[name] = kind
            else:
                self._sample(family, line)

    def _sample(self, family, line):
        match = SAMPLE.match(line)
        assert match, line
        name, labels, value = match.groups()
        suffix = name[len(family):]
        assert name.startswith(family), f"{line} in the family {family}"
        histogram = self.types[family] == "histogram"
        assert suffix in (("_bucket", "_sum", "_count") if histogram else ("",)), line
        pairs, at = [], 0
        while at < len(labels or ""):
            label = LABEL.match(labels, at)
            assert label, line
            pairs.append((label[1], re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(
                escape[1], escape[1]), label[2])))
            at = label.end()
        key = (name, tuple(sorted(pairs)))
        assert key not in self.samples, f"{line} comes twice"
        self.samples[key] = float(value)

    def get(self, name, **labels):
        return self.samples[(name, tuple(sorted(labels.items())))]

    def all(self, name, **labels):
        """{labels: value} of the samples that have these labels among theirs."""
        return {key[1]: value for key, value in self.samples.items()
                if key[0] == name and set(labels.items()) <= set(key[1])}

    def sum(self, name, **labels):
        return sum(self.all(name, **labels).values())


def connect(topology, port=PORT):
    return Wire(topology.connect("client", SLUICE, port))


def fetch(topology, target="/metrics", method="GET", port=PORT):
    with connect(topology, port) as wire:
        wire.send(request(target, method, host="metrics.test"))
        answer = wire.read_response(method)
        wire.is_closed()
        return answer


def scrape(topology, port=PORT):
    answer = fetch(topology, port=port)
    assert answer.status == 200
    assert answer.get("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    return Page(answer.body.decode())
