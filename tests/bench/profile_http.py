#!/usr/bin/python3
"""
Where the CPU of a proxy goes, under the loads of bench_http.py. Needs root, and perf or strace.

  perf      samples of all its threads by object, by symbol, and by the share of whole call chains
  syscalls  system calls per request, by strace (which slows everything: counts only)
  events    io_uring entries and completions, system calls, packets, switches per request
  samples   runs one after another, unprofiled

usage: profile_http.py [options] perf|syscalls|events|samples
"""
import argparse
import os
import signal
import subprocess
import sys
import time

from bench_http import CASES, placement
from benchlib import machine, programs
from benchlib.rounds import run_load, take_sample

EVENTS = ("io_uring:io_uring_submit_req", "io_uring:io_uring_complete", "io_uring:io_uring_poll_arm",
          "io_uring:io_uring_task_add", "io_uring:io_uring_queue_async_work",
          "raw_syscalls:sys_enter", "context-switches", "page-faults", "sched:sched_wakeup",
          "net:net_dev_xmit", "timer:hrtimer_start")
ATTACH_S = 0.7


def read_options():
    parser = argparse.ArgumentParser(description="where the CPU of a proxy goes")
    parser.add_argument("what", choices=("perf", "syscalls", "events", "samples"))
    parser.add_argument("--case", choices=CASES, default="small")
    parser.add_argument("--proxy", default="Sluice", help="a class of benchlib/programs.py")
    parser.add_argument("--build", help="another build directory of sluice")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--workers", type=int, default=1, help="placed as bench_http.py does")
    parser.add_argument("--lines", type=int, default=40)
    parser.add_argument("--nice", type=int, default=-10)
    return parser.parse_args()


class Profile:
    def __init__(self, place, options):
        self.options, self.directory = options, place.directory
        cpus, self.others = placement(options.workers)
        self.backend = programs.Backend(place, 81, self.others).start()
        kind = getattr(programs, options.proxy)
        if options.build:
            kind.build = options.build
        self.proxy = kind(place, 100, self.backend, options.workers, cpus).start()
        self.load = CASES[options.case][0]
        run_load(self.proxy, self.load, 0.2, self.others)
        self.pids = [self.proxy.pid, *machine.children(self.proxy.pid)]

    def run_beside(self, *argv):
        """A run of the load while the command watches the proxy: the sample."""
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as watcher:
            time.sleep(ATTACH_S)
            sample = take_sample(self.proxy, self.backend, self.load, self.options.seconds,
                                 self.others)
            watcher.send_signal(signal.SIGINT)
        return sample

    def pid_list(self):
        return ",".join(map(str, self.pids))

    def perf(self):
        data = str(self.directory / "perf.data")
        sample = self.run_beside("perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", "-g",
                                 "-o", data, "-p", self.pid_list())
        self.show(sample)
        for more in (("--no-children", "--sort", "dso"), ("--no-children",), ("--children",)):
            report = subprocess.run(["perf", "report", "-i", data, "--stdio", "-g", "none", *more],
                                    capture_output=True, text=True, check=False).stdout
            lines = [line for line in report.splitlines() if line and not line.startswith("#")]
            print("\n" + "\n".join(lines[:self.options.lines]))

    def syscalls(self):
        counts = self.directory / "counts"
        sample = self.run_beside("strace", "-f", "-c", "-U", "calls,name", "-o", str(counts),
                                 *(word for pid in self.pids for word in ("-p", str(pid))))
        self.show(sample)
        for line in counts.read_text().splitlines():
            fields = line.split()
            if len(fields) == 2 and fields[0].isdigit():
                print(f"{int(fields[0]) / sample['count']:9.3f}  {fields[1]}")

    def events(self):
        counts = self.directory / "counts"
        sample = self.run_beside("perf", "stat", "-x,", "-e", ",".join(EVENTS), "-o", str(counts),
                                 "-p", self.pid_list())
        self.show(sample)
        for line in counts.read_text().splitlines():
            fields = line.split(",")
            if len(fields) > 3 and fields[0].isdigit():
                print(f"{int(fields[0]) / sample['count']:9.3f}  {fields[2]}")

    def samples(self):
        for _ in range(5):
            self.show(take_sample(self.proxy, self.backend, self.load, self.options.seconds,
                                  self.others))

    @staticmethod
    def show(sample):
        print("  ".join(f"{name} {value:.1f}" for name, value in sample.items()), flush=True)


def main():
    options = read_options()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
        with machine.Place() as place:
            getattr(Profile(place, options), options.what)()
    except (machine.Unusable, FileNotFoundError) as error:
        print(f"profile_http: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
