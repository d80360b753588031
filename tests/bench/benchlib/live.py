"""
Live frames: our program and nftables behind a pair of virtual devices, in the bench's namespace.

    g0 ──► d0 (dropped here, or forwarded) ──► d1 ──► s0 (counts)

What was found about frames that vanish: a veth takes frames by XDP only while the device at its
other end runs NAPI, which it does with an XDP program on it or with GRO switched on. Without either
all frames of a generator are dropped where no counter sees them, and what looks like nftables' speed
is that of nothing. So GRO is on at d0 for nftables, and what each side says it has processed is
counted beside what was sent: if one in a hundred is missing, there is no ratio.

All is done on one CPU: the receiving side works off each batch before the next is sent, so none is
lost and the time of a packet is that of all three: sending, the work, counting. The floor is the
same without the work.
"""
import json
import subprocess

from . import machine

FLOWS = 4096
SERVICE = "192.0.2.1"
GATEWAY_MAC = "02:00:00:00:00:02"
MISSING_MAX = 0.01

DROP_RULES = """
table netdev bench {{
	set denied {{ type ipv4_addr; elements = {{ {addresses} }} }}
	chain ingress {{
		type filter hook ingress device d0 priority 0;
		ip saddr @denied counter drop
	}}
}}
"""
FORWARD_RULES = """
table ip bench {{
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {service} tcp dport 80 dnat to jhash ip saddr . tcp sport mod 100 map {{ {backends} }}
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat;
		ip daddr 10.0.1.0/24 snat to 10.9.0.1
	}}
}}
"""


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise machine.Unusable(f"'{' '.join(command)}': {done.stderr.strip()}")
    return done.stdout


def set_up_devices():
    run("ip", "link", "add", "g0", "type", "veth", "peer", "name", "d0")
    run("ip", "link", "add", "s0", "type", "veth", "peer", "name", "d1")
    for device in ("g0", "d0", "s0", "d1"):
        # Nobody says anything by itself, and no checksum is left open.
        run("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1")
        run("ethtool", "-K", device, "tx", "off")
        run("ip", "link", "set", device, "up")
    run("ethtool", "-K", "d0", "gro", "on")
    run("ip", "address", "add", "11.255.255.254/8", "dev", "d0")
    run("ip", "address", "add", "10.9.0.1/24", "dev", "d1")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.d0.rp_filter=0")
    run("ip", "neighbour", "add", "10.9.0.2", "lladdr", GATEWAY_MAC, "dev", "d1", "nud",
        "permanent")
    run("ip", "route", "add", "10.0.1.0/24", "via", "10.9.0.2")


def nft_counted():
    """Sum of the packets of all counters."""
    found = 0
    for item in json.loads(run("nft", "-j", "list", "ruleset"))["nftables"]:
        for expression in item.get("rule", {}).get("expr", []):
            found += expression.get("counter", {}).get("packets", 0)
    return found


class Live:
    """Devices, and one run after another. One CPU for all of it."""

    def __init__(self, seconds):
        set_up_devices()
        self.seconds = seconds
        self.mac = json.loads(run("ip", "-j", "link", "show", "dev", "d0"))[0]["address"]

    def send(self, to, *ours):
        return json.loads(run("taskset", "-c", "0", machine.build_dir() / "tests/bench/xdp_live",
                              "g0", to, str(self.seconds), str(FLOWS), self.mac, *ours))

    def floor(self):
        found = self.send("d0")
        return found | {"processed": found["arrived"]}

    def drop_ours(self):
        found = self.send("s0", "deny", "d0", "d1")
        return found | {"processed": found["counted"].get("deny", 0)}

    def forward_ours(self, mode):
        found = self.send("s0", mode, "d0", "d1")
        return found | {"processed": found["arrived"]}

    def with_rules(self, rules, send):
        run("nft", "-f", "-", text=rules)
        try:
            return send()
        finally:
            run("nft", "flush", "ruleset")

    def drop_nft(self):
        addresses = ", ".join(f"11.0.{number >> 8}.{number & 255}" for number in range(FLOWS))

        def send():
            found = self.send("s0")
            return found | {"processed": nft_counted()}

        return self.with_rules(DROP_RULES.format(addresses=addresses), send)

    def forward_nft(self):
        backends = ", ".join(f"{number}: 10.0.1.{number}" for number in range(100))

        def send():
            found = self.send("s0")
            return found | {"processed": found["arrived"]}

        return self.with_rules(FORWARD_RULES.format(service=SERVICE, backends=backends), send)


def measure(rounds, seconds, modes):
    """case -> who -> list of runs; rounds in turn."""
    live = Live(seconds)
    cases = [("live floor", "generator", live.floor), ("live drop", "sluice", live.drop_ours),
             ("live drop", "nftables", live.drop_nft)]
    cases += [(f"live forward {mode}", "sluice", lambda mode=mode: live.forward_ours(mode))
              for mode in modes]
    cases.append(("live forward nat", "nftables", live.forward_nft))
    found = {}
    for turn in range(rounds):
        for nth in range(len(cases)):
            name, who, send = cases[(nth + turn) % len(cases)]
            found.setdefault(name, {}).setdefault(who, []).append(send())
    return found


def mpps(sample):
    return sample["processed"] / sample["seconds"] / 1e6


def missing(sample):
    """Share of the packets that were sent but not processed."""
    return 1 - sample["processed"] / sample["sent"]
