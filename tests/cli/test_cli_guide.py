"""The commands of docs/kernel-guide.md, run as they stand there, on a node and on a backend."""
import os
import re
import subprocess

import pytest

from conftest import BUILD, SLUICED, TOP

GUIDE = os.path.join(TOP, "docs/kernel-guide.md")
# Private places under the names of the real ones, so that defaults need no options.
MACHINE = ("mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs none /run && "
           "mount -t tmpfs none /var/lib && ip link set lo up && "
           "ip link add eth0 type veth peer name peer0 && ip link set eth0 up && "
           "ip link set peer0 up && echo made && exec cat")


class Machine:
    def __init__(self):
        self.daemon = None
        self.shell = subprocess.Popen(["unshare", "-m", "-n", "sh", "-c", MACHINE],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.shell.stdout.readline() != b"made\n":
            self.close()
            pytest.skip("namespaces with bpffs and veth cannot be made here")
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith("SLUICE_") or name == "SLUICE_IO"}
        self.env["PATH"] = BUILD + ":" + self.env["PATH"]

    def inside(self, command):
        return ["nsenter", f"--mount=/proc/{self.shell.pid}/ns/mnt",
                f"--net=/proc/{self.shell.pid}/ns/net", *command]

    def start(self, file):
        self.daemon = subprocess.Popen(self.inside([SLUICED, "--config", file]), env=self.env,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = []
        for line in self.daemon.stdout:
            seen.append(line)
            if "ready" in line:
                return
        raise AssertionError("sluiced ended before it was ready:\n" + "".join(seen))

    def run(self, command):
        result = subprocess.run(self.inside(["bash", "-c", command]), env=self.env, timeout=60,
                                capture_output=True, text=True, check=False)
        if command.startswith("kill -9"):
            assert self.daemon.wait(60) == -9
        return result.stdout + result.stderr

    def close(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait(60)
            self.daemon.stdout.close()
        self.shell.stdin.close()
        self.shell.wait(60)
        self.shell.stdout.close()


def blocks(text, kind):
    return re.findall(rf"```{kind}\n(.*?)```", text, re.S)


def normal(line):
    """Without what differs from run to run: lone numbers, versions, times, widths of columns."""
    # Parts of addresses and prefixes are none of those numbers: they are what was asked for.
    line = re.sub(r'(?<![\d.:/,\w-])[\d,]+(?![\d.:/,\w-])|(?<=":)\d+', "0", line)
    line = re.sub(r"(?<=sluice )\d\S*", "VERSION", line)
    return re.sub(r" {2,}", "  ", re.sub(r"(?<=up )\w+", "0s", line)).rstrip()


def is_as_written(expected, out):
    """'...' stands for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(normal(line)) + r"\n"
                      for line in expected.splitlines())
    return re.fullmatch(pattern, "".join(normal(line) + "\n" for line in out.splitlines()))


def test_a_wrong_answer_is_not_taken():
    assert is_as_written("opened     0\n...\n", "opened   1,204\nx\ny\n")
    assert is_as_written("sluice 0.1.0 took 2\n", "sluice 0.1.0+abc took 3\n")
    assert not is_as_written("opened     0\n", "closed  0\n")
    assert not is_as_written("203.0.113.0/24 is denied.\n", "203.0.114.0/24 is denied.\n")
    assert not is_as_written("one\n", "one\nError: two\n")


def test_commands_of_the_guide_run_as_written(tmp_path, sluice_binary):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with open(GUIDE, encoding="utf-8") as file:
        text = file.read()
    config, = blocks(text, "yaml")
    tmp_path.chmod(0o755)
    path = tmp_path / "sluice.yaml"
    path.write_text(config, encoding="utf-8")
    machines = {}
    try:
        machines["node"] = Machine()
        machines["backend"] = Machine()
        machines["node"].start(str(path))
        count = 0
        for block in blocks(text, "console"):
            for name, command, expected in re.findall(
                    r"^(node|backend)# (.*)\n((?:(?!node# |backend# ).*\n)*)", block, re.M):
                out = machines[name].run(command)
                assert is_as_written(expected, out), f"{name}# {command}\n{out}"
                count += 1
        assert count == len(re.findall(r"^(?:node|backend)# ", text, re.M)) >= 20
    finally:
        for machine in machines.values():
            machine.close()
