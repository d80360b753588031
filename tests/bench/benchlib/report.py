"""Medians, one table, and build/bench/NAME.json."""
import json
import os
import statistics
from pathlib import Path

from . import machine
from .rounds import FIGURES


def median(samples, figure):
    return statistics.median(sample[figure] for sample in samples)


def spread(samples, figure):
    values = [sample[figure] for sample in samples]
    return min(values), max(values)


def row(name, unit, ours, peers, better, bar=None):
    """
    ours: list of values, one per round; peers: name -> such a list. The peer is the one with the
    better median. Ratio: ours to the peer's.
    """
    mine = statistics.median(ours)
    found = {"name": name, "unit": unit, "ours": mine, "peer": None, "peer_name": None,
             "ratio": None, "rounds": len(ours), "better": "lower" if better is min else "higher",
             "ours_min": min(ours), "ours_max": max(ours)}
    if peers:
        medians = {peer: statistics.median(values) for peer, values in peers.items()}
        best = better(medians, key=medians.get)
        found.update(peer=medians[best], peer_name=best, peer_min=min(peers[best]),
                     peer_max=max(peers[best]),
                     ratio=mine / medians[best] if medians[best] else None, peers=medians)
    if bar is not None:
        found["bar"] = bar
    return found


def rows_of(name, samples, ours="sluice", bar=None):
    """A row for each figure of samples as rounds.measure() gives them; `bar` is of proxy_cpu."""
    found = []
    for figure, (unit, better) in FIGURES.items():
        values = {who: [sample[figure] for sample in taken] for who, taken in samples.items()}
        mine = values.pop(ours)
        found.append(row(f"{name} {figure}", unit, mine, values, better,
                         bar if figure == "proxy_cpu" else None))
    return found


def write_json(name, rows, path=None, **more):
    """Writes build/bench/NAME.json, or PATH, and says where that is."""
    path = Path(path or machine.TOP / "build" / "bench" / f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{os.getpid()}"
    beside.write_text(json.dumps({"machine": machine.description(), "rows": rows, **more},
                                 indent=1) + "\n")
    beside.replace(path)
    return path


# ---- the table

def cells_as_text(lines):
    """Columns of equal width, the first two to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(line, widths))).rstrip()


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


HEADER = ("case", "proxy", "requests/s", "p50 us", "p99 us", "proxy CPU us", "min", "max",
          "kernel", "total", "ratio", "bar")


def lines_of(name, samples, ours="sluice", bar=None):
    """The table's lines of one case: ours first, with its ratio to the better peer's proxy CPU."""
    peers = [who for who in samples if who != ours]
    best = min(peers, key=lambda who: median(samples[who], "proxy_cpu")) if peers else None
    for who in [ours, *peers]:
        taken = samples[who]
        low, high = spread(taken, "proxy_cpu")
        ratio = bar_text = ""
        if who == ours and best:
            value = median(taken, "proxy_cpu") / median(samples[best], "proxy_cpu")
            ratio = f"{value:.2f}"
            if bar is not None:
                bar_text = f"{'<=' if value <= bar else '>'} {bar:.2f}"
        elif who == best:
            ratio = "1"
        yield (name, who, *(number(median(taken, figure))
                            for figure in ("requests", "p50", "p99", "proxy_cpu")),
               number(low), number(high), number(median(taken, "kernel_cpu")),
               number(median(taken, "total_cpu")), ratio, bar_text)
