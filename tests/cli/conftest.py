"""
Fixtures of the CLI tests. Most run `sluice` against a fake daemon (fake_admin.py); those on real
pins need root.

SLUICE_BUILD    where the binaries are (default: build)
SLUICE_LONG     1: full counts
SLUICE_SEED     seed of the random argument vectors (default: a fixed one)
"""
import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from fake_admin import FakeAdmin  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("SLUICE_BUILD") or "build")
SLUICE = os.path.join(BUILD, "sluice")
SLUICED = os.path.join(BUILD, "sluiced")
# For a hang of the command itself; nothing is asserted on time.
HANG_S = 120


class Result:
    """What one run printed. `json` insists on exactly one document and nothing else."""

    def __init__(self, args, process):
        self.args = args
        self.status = process.returncode
        self.out = process.stdout.decode("utf-8", "surrogateescape")
        self.err = process.stderr.decode("utf-8", "surrogateescape")

    def __str__(self):
        return f"sluice {self.args} -> {self.status}\nout: {self.out!r}\nerr: {self.err!r}"

    @property
    def json(self):
        assert self.out.endswith("\n") and not self.out.endswith("\n\n"), str(self)
        assert self.out.encode("utf-8"), str(self)  # valid UTF-8, or this raises
        assert self.err == "", str(self)
        return json.loads(self.out)

    @property
    def json_error(self):
        doc = self.json
        assert self.status in (1, 2), str(self)
        assert set(doc) <= {"error", "errors"} | ({"results"} if "batch" in self.args else set()), \
            str(self)
        assert isinstance(doc["error"], str) and doc["error"], str(self)
        assert all(isinstance(line, str) for line in doc.get("errors", [])), str(self)
        return doc["error"]

    @property
    def text_error(self):
        assert self.status in (1, 2), str(self)
        assert self.out == "", str(self)
        assert self.err.startswith("Error: ") and self.err.endswith("\n"), str(self)
        return self.err[len("Error: "):].rstrip("\n")


def run_sluice(args, env=None, prefix=(), cwd=None, stdout=subprocess.PIPE, stdin=b""):
    full_env = {name: value for name, value in os.environ.items()
                if not name.startswith("SLUICE_")}
    full_env.update(env or {})
    process = subprocess.run([*prefix, SLUICE, *args], env=full_env, cwd=cwd, timeout=HANG_S,
                             input=stdin, stdout=stdout, stderr=subprocess.PIPE,
                             check=False)
    if process.stdout is None:
        process.stdout = b""
    return Result(args, process)


@pytest.fixture(scope="session")
def sluice_binary():
    assert os.access(SLUICE, os.X_OK), f"{SLUICE} is not built; run make"
    return SLUICE


@pytest.fixture
def places(tmp_path):
    """Environment in which nothing of the machine is found: no socket, no pins, no state."""
    return {"SLUICE_SOCKET": str(tmp_path / "admin.sock"),
            "SLUICE_BPFFS": str(tmp_path / "no-bpffs"),
            "SLUICE_STATE_DIR": str(tmp_path / "no-state")}


@pytest.fixture
def alone(sluice_binary, places):
    """Runs `sluice` where no daemon and no pins are."""
    def run(*args, **more):
        env = dict(places)
        env.update(more.pop("env", {}))
        return run_sluice(args, env=env, **more)
    return run


@pytest.fixture
def admin(places):
    with FakeAdmin(places["SLUICE_SOCKET"]) as server:
        yield server


@pytest.fixture
def sluice(alone, admin):
    """Runs `sluice` with the fake daemon `admin`."""
    return alone
