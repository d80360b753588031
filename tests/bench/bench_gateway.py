#!/usr/bin/python3
"""
What policies cost: one daemon with one worker, the same small request by a route without policies
and by one that has the policy, in turn. Prints one table and writes build/bench/gateway.json.
Needs root.

The proxy has CPU 0 for itself, load and backend share the others. What a policy adds is the median
over the rounds of the difference to the plain route of the same round, in CPU of the proxy for each
request; access log and metrics are on.
"""
import argparse
import dataclasses
import hashlib
import os
import statistics
import sys

from benchlib import machine, report
from benchlib.load import BadLoad, Load
from benchlib.programs import Backend, Sluice
from benchlib.rounds import WARM_UP_S, run_load, take_sample

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from lib.tokens import ISSUER, Issuer, jwks  # noqa: E402

BACKEND_PORT, PORT = 81, 100
SMALL = Load("/bytes/128", 128, 64)
KEY = "a-key-of-a-partner-0123456789abcdef"
SIGNER = Issuer("bench")
TOKEN = SIGNER.sign(lifetime_s=3600, sub="partner", aud="shop", scope="read write",
                    email="partner@shop.example", roles=["buyer", "seller"])
JWT = f'issuer: "{ISSUER}", audience: shop, algorithms: ES256, jwks: {{ file: jwks.json }}'


@dataclasses.dataclass
class Case:
    """A route of its own. `bar`: CPU that the policy may add to a request, in us; None: no bar."""

    policy: str
    bar: float = None
    fields: tuple = ()


CASES = {
    "api_key": Case("api_key: { header: x-api-key, keys: { file: keys.txt } }", 0.5,
                    (f"X-API-Key: {KEY}",)),
    # Tokens of ES256: known from an earlier request, and verified for each.
    "jwt": Case(f"jwt: {{ {JWT} }}", 1.0, (f"Authorization: Bearer {TOKEN}",)),
    "jwt verified": Case(f"jwt: {{ {JWT}, cached_tokens: 0 }}", None,
                         (f"Authorization: Bearer {TOKEN}",)),
    "authorize": Case("authorize: { any: [ { method: POST }, { path: { prefix: /bytes } } ] }"),
    "rate_limit": Case("rate_limit: { rate: 1000000/s, burst: 1000000 }", 0.5),
    "rate_limit quiet": Case("rate_limit: { rate: 1000000/s, burst: 1000000, headers: off }"),
    "transform": Case("transform: { request: { headers: { set: { x-client: \"{client.address}\" } } } }"),
}


def host_of(name):
    return f"{name.replace('_', '-').replace(' ', '-')}.example"


def routes():
    """Further members of `routes`, and the policies behind them."""
    names = {name: host_of(name).partition(".")[0] for name in CASES}
    for name, word in names.items():
        yield (f"  - {{ name: {word}, match: {{ hosts: [ {host_of(name)} ] }}, policies: [ {word} ], "
               "proxy: { upstream: backend } }\n")
    yield "policies:\n"
    for name, word in names.items():
        yield f"  - {{ name: {word}, {CASES[name].policy} }}\n"


class Gateway(Sluice):
    def prepare(self):
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        (self.directory / "keys.txt").write_text(
            f"partner sha256:{digest} groups=partners\n" +
            "".join(f"other{number} sha256:{hashlib.sha256(str(number).encode()).hexdigest()}\n"
                    for number in range(1000)))
        (self.directory / "jwks.json").write_text(jwks(SIGNER))
        super().prepare()


def read_options():
    parser = argparse.ArgumentParser(description="what policies cost")
    parser.add_argument("--rounds", type=int, default=15, help="default 15")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run (default 0.5)")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ",".join(CASES))
    parser.add_argument("--nice", type=int, default=-10)
    parser.add_argument("--output", help="in place of build/bench/gateway.json")
    parser.add_argument("--quick", action="store_true", help="shows that it works, no figures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 0.1
    options.cases = options.cases.split(",")
    for name in options.cases:
        if name not in CASES:
            parser.error(f"no case '{name}'; there are {', '.join(CASES)}")
    return options


def measure(options, sluice, backend, cpus):
    """name -> CPU of the proxy for each request, one figure a round; "" is the plain route."""
    loads = {"": SMALL}
    for name in options.cases:
        loads[name] = dataclasses.replace(SMALL, host=host_of(name), fields=CASES[name].fields)
    samples = {name: [] for name in loads}
    names = list(loads)
    for turn in range(options.rounds):
        for nth in range(len(names)):
            name = names[(nth + turn) % len(names)]
            run_load(sluice, loads[name], min(WARM_UP_S, options.seconds), cpus)
            samples[name].append(
                take_sample(sluice, backend, loads[name], options.seconds, cpus)["proxy_cpu"])
    return samples


def lines_of(samples):
    plain = samples[""]
    yield ("case", "", "CPU us", "plain", "added", "least", "most", "bar")
    for name, taken in samples.items():
        if not name:
            continue
        added = [with_it - without for with_it, without in zip(taken, plain)]
        bar, value = CASES[name].bar, statistics.median(added)
        yield (name, "", f"{statistics.median(taken):.2f}", f"{statistics.median(plain):.2f}",
               f"{value:.2f}", f"{min(added):.2f}", f"{max(added):.2f}",
               "" if bar is None else f"{'<=' if value <= bar else '>'} {bar:.2f}")


def rows_of(samples):
    for name, taken in samples.items():
        if not name:
            continue
        found = report.row(f"{name} proxy_cpu", "us/request", taken, {"plain": samples[""]}, min)
        found["added"] = statistics.median(
            with_it - without for with_it, without in zip(taken, samples[""]))
        if CASES[name].bar is not None:
            found["bar"] = CASES[name].bar
        yield found


def main():
    options = read_options()
    others = set(range(1, os.cpu_count() or 1))
    try:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
        with machine.Place() as place:
            backend = Backend(place, BACKEND_PORT, others or None).start()
            sluice = Gateway(place, PORT, backend, 1, {0} if others else None,
                             routes=list(routes())).start()
            samples = measure(options, sluice, backend, others or None)
            for program in (sluice, backend):
                program.dispose()
    except (machine.Unusable, BadLoad, PermissionError) as error:
        print(f"bench_gateway: {error}", file=sys.stderr)
        return 1
    for line in report.cells_as_text(list(lines_of(samples))):
        print(line)
    path = report.write_json("gateway", list(rows_of(samples)), options.output,
                             seconds=options.seconds, quick=options.quick, problems=[])
    print(f"# {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
