#!/usr/bin/python3
"""
The kernel part: nanoseconds per packet of our XDP program beside programs of the tests' own, by
BPF_PROG_TEST_RUN. Prints one table and writes build/bench/xdp.json. Needs root.

Each packet of a run is another one: a wrapper writes its header before the program and takes off
what the program put in front (tests/bench/bpf/bench_wrap.bpf.c). All figures include the wrapper;
"over floor" is what is left without it: the figure less that of an empty program in the wrapper.
Peers: "lru", a balancer with BPF's LRU hash for flows and its hash for services; "lru2", a NAT with
one such hash per direction; "lpm", access lists in BPF's longest-prefix trie. Bars are printed as met
or missed, and fail nothing.

Case "live": frames that really come from a device, dropped or forwarded by our program and by
nftables, all on one CPU; see benchlib/live.py.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

from benchlib import live, machine, report

TIMED = ("pass", "deny4", "deny6", "service", "nat")
GROUPS = (*TIMED, "live")
LIVE_MODES = ("ipip",) # of forwarding, that our program knows
OURS = "sluice"


class Failed(Exception):
    """A program of the bench did not work; the text says how."""


def run_time(groups, options):
    command = [machine.build_dir() / "tests/bench/xdp_time"]
    if options.quick:
        command.append("--quick")
    else:
        command += ["--rounds", str(options.rounds), "--packets", str(options.packets)]
    done = subprocess.run([*command, "floor", *groups], stdout=subprocess.PIPE, text=True,
                          check=False, preexec_fn=machine.die_with_parent)
    if done.returncode:
        raise Failed(f"xdp_time ended with {done.returncode}")
    return json.loads(done.stdout)


class Times:
    """What xdp_time found: name -> who -> list of nanoseconds, one per round."""

    def __init__(self, found):
        self.samples, self.problems, self.facts = {}, [], found["facts"]
        for case in found["cases"]:
            self.samples.setdefault(case["name"], {})[case["who"]] = case["ns"]
            if case["other_verdicts"]:
                self.problems.append(f"{case['name']}, {case['who']}: {case['other_verdicts']} "
                                     "packets ended otherwise than they should")
        # The reference balancer knows no changes: its figure stands beside all of ours.
        for name, values in self.samples.items():
            if name.startswith("service "):
                clean = self.samples.get(f"service clean {name.split()[-1]}", {})
                if "lru" in clean:
                    values["lru"] = clean["lru"]

    def median(self, name, who=OURS):
        found = self.samples.get(name, {}).get(who)
        return statistics.median(found) if found else None

    def floor(self, name):
        return self.median("floor v6" if " v6" in name else "floor v4", "empty")

    def net(self, name, who=OURS):
        value = self.median(name, who)
        return None if value is None else value - self.floor(name)

    def ratio(self, name, peer):
        mine, other = self.median(name), self.median(name, peer)
        return mine / other if mine is not None and other else None


# ---- bars: name of a case -> list of (text, met)

def bar(text, value, limit):
    return {"text": f"{text} {value:.2f} <= {limit:g}", "met": value <= limit}


def bars_of_pass(name, times):
    return [bar("over floor", times.net(name), 15)]


def bars_of_deny(name, times):
    words = name.split()
    if words[2] != "1000000":
        return []
    small = times.net(" ".join([*words[:2], "10", *words[3:]]))
    return [bar("to 10 entries, over floor", times.net(name) / max(small, 1), 3),
            bar("to lpm", times.ratio(name, "lpm"), 0.1)]


def bars_of_service(name, times):
    flows = name.split()[-1]
    if name.startswith("service clean"):
        limit = {"64k": 0.45, "1M": 0.25}.get(flows)
        bars = [bar("ns", times.median(name), 55)]
        # For slower machines: one of the two is enough.
        return bars + ([bar("else to lru", times.ratio(name, "lru"), limit)] if limit else [])
    limit = {"64k": 0.75, "1M": 0.5}.get(flows) if name.startswith("service all") else None
    return [bar("to lru", times.ratio(name, "lru"), limit)] if limit else []


BARS = {"pass": bars_of_pass, "deny": bars_of_deny, "service": bars_of_service}


def row_of(name, times):
    values = dict(times.samples[name])
    who = OURS if OURS in values else next(iter(values))
    row = report.row(name, "ns/packet", values.pop(who), values, min)
    row["over_floor"] = None if name == "floor unwrapped" else times.net(name, who)
    if who != OURS:
        row["name"] += f" ({who})"
    judge = BARS.get(name.split()[0]) if who == OURS else None
    row["bars"] = judge(name, times) if judge else []
    return row


# ---- live frames

def live_rows(options):
    """Rows, and what is wrong with them."""
    seconds, rounds = (0.05, 1) if options.quick else (0.5, min(options.rounds, 5))
    with machine.Place():
        found = live.measure(rounds, seconds, LIVE_MODES)
    floor_ns = statistics.median(1e3 / live.mpps(sample)
                                 for sample in found["live floor"]["generator"])
    rows, problems = [], []
    for name, by_who in found.items():
        whole = True
        for who, samples in by_who.items():
            lost = max(live.missing(sample) for sample in samples)
            if lost > live.MISSING_MAX:
                whole = False
                problems.append(f"{name}, {who}: {100 * lost:.1f} % of the packets sent were not "
                                "processed: no ratio")
        speeds = {who: [live.mpps(sample) for sample in samples]
                  for who, samples in by_who.items()}
        work = {who: [1e3 / speed - floor_ns for speed in values]
                for who, values in speeds.items()}
        kinds = [(name, "Mpps", speeds, max)]
        if name != "live floor":
            kinds.append((f"{name}, less floor", "ns/packet", work, min))
        for text, unit, values, better in kinds:
            who = OURS if OURS in values else next(iter(values))
            row = report.row(text if who == OURS else f"{text} ({who})", unit, values.pop(who),
                             values if whole else {}, better)
            rows.append(row | {"bars": [], "over_floor": None})
    return rows, problems


HEADER = ("what", "unit", "ours", "over floor", "min", "max", "peer", "", "ratio", "bars")


def line_of(row):
    has_peer = row["peer"] is not None
    over = row.get("over_floor")
    bars = "; ".join(f"{each['text']}: {'met' if each['met'] else 'MISSED'}"
                     for each in row["bars"])
    return (row["name"], row["unit"], report.number(row["ours"]),
            "" if over is None else report.number(over), report.number(row["ours_min"]),
            report.number(row["ours_max"]), report.number(row["peer"]) if has_peer else "",
            row["peer_name"] or "", f"{row['ratio']:.2f}" if row["ratio"] else "", bars)


def print_table(rows):
    # The bars are text of any length: after the columns, and to the left.
    lines = [HEADER, *map(line_of, rows)]
    for line, text in zip(lines, report.cells_as_text([line[:-1] for line in lines])):
        print(f"{text}  {line[-1]}".rstrip())


def parse_arguments():
    parser = argparse.ArgumentParser(description="the kernel part by packets")
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--cases", "--groups", default=",".join(GROUPS),
                        help=f"which of {', '.join(GROUPS)}; separated by commas")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--packets", type=int, default=200000, help="in a sample")
    parser.add_argument("--output", help="instead of build/bench/xdp.json")
    options = parser.parse_args()
    options.cases = options.cases.split(",")
    for case in options.cases:
        if case not in GROUPS:
            parser.error(f"no case '{case}'")
    return options


def main():
    options = parse_arguments()
    if os.geteuid() != 0:
        print("bench_xdp: needs root", file=sys.stderr)
        return 1
    print(f"# {machine.description()}")
    try:
        times = Times(run_time([case for case in TIMED if case in options.cases], options))
        rows, problems = [row_of(name, times) for name in times.samples], times.problems
        if "live" in options.cases:
            more_rows, more_problems = live_rows(options)
            rows += more_rows
            problems += more_problems
    except (Failed, machine.Unusable) as error:
        print(f"bench_xdp: {error}", file=sys.stderr)
        return 1
    print_table(rows)
    for problem in problems:
        print(f"# {problem}")
    path = report.write_json("xdp", rows, options.output, problems=problems, facts=times.facts)
    print(f"# {path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
