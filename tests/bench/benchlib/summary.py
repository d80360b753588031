"""
One table of what the benchmarks have left in build/bench.

usage: summary.py [--after SECONDS]     only files changed since that time (of the epoch)
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchlib import machine, report  # noqa: E402

HEADER = ("bench", "what", "unit", "ours", "peer", "", "ratio", "bar", "rounds")


def lines_of(path):
    for row in json.loads(path.read_text())["rows"]:
        peer = row["peer"] is not None
        yield (path.stem, row["name"], row["unit"], report.number(row["ours"]),
               report.number(row["peer"]) if peer else "", row["peer_name"] or "",
               f"{row['ratio']:.2f}" if row["ratio"] is not None else "",
               f"{row['bar']:.2f}" if "bar" in row else "", str(row["rounds"]))


def main():
    parser = argparse.ArgumentParser(description="one table of build/bench/*.json")
    parser.add_argument("--after", type=float, default=0)
    after = parser.parse_args().after
    lines = [HEADER]
    for path in sorted((machine.TOP / "build/bench").glob("*.json")):
        if path.stat().st_mtime >= after:
            lines += lines_of(path)
    for line in report.cells_as_text(lines):
        print(line)


if __name__ == "__main__":
    main()
