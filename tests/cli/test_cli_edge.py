"""The commands of examples/edge/README.md, run as they stand there, under both engines."""
import os
import re

import pytest

from conftest import BUILD, TOP
from test_cli_guide import Machine, blocks, is_as_written

README = os.path.join(TOP, "examples/edge/README.md")
ENGINES = [name for name in os.environ.get("SLUICE_ENGINES", "io_uring,epoll").split(",") if name]


@pytest.mark.parametrize("engine", ENGINES)
def test_commands_of_the_edge_example_run_as_written(engine, sluice_binary):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    pytest.importorskip("websockets")
    with open(README, encoding="utf-8") as file:
        text = file.read()
    machine = Machine()
    # Its /run and bpffs are its own, and so are the names of network namespaces.
    machine.env.update(SLUICE_IO=engine, SLUICE_BUILD=BUILD)
    count = 0
    try:
        for block in blocks(text, "console"):
            for command, expected in re.findall(r"^# (.*)\n((?:(?!# ).*\n)*)", block, re.M):
                out = machine.run(f"cd {TOP} && " + re.sub(r"^build/", BUILD + "/", command))
                assert is_as_written(expected, out), f"# {command}\n{out}"
                if command == "examples/edge/run":
                    assert f" workers, {engine}," in machine.run("cat /run/sluice-edge/edge.log")
                count += 1
        assert count == len(re.findall(r"^# (?:examples|ip|build|ls)", text, re.M)) >= 14
        assert machine.run("ip netns; ls /sys/fs/bpf") == "maps.debug\nprogs.debug\n"
    finally:
        machine.run(f"{TOP}/examples/edge/run stop")
        machine.close()
