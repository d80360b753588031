"""
What the benchmarks beside other servers share.

machine.py    the bench's own network namespace, CPU clocks of processes and kernel threads, noise
programs.py   the backend, sluiced, nginx and haproxy, started and ended by pid
load.py       the load generators, whose figures are checked before they are believed
rounds.py     contenders measured in turn, round after round
report.py     medians, the table, build/bench/NAME.json

A bench runs as root, in a network namespace that only it and its children are in: see
machine.Place. Nothing of it stays behind.
"""
