"""Two sessions that share the integration tests run each of them once."""
import os
import subprocess
import sys

LIB = os.path.join(os.path.dirname(__file__), "../integration")
CONFTEST = f"""
import os, sys
import pytest
sys.path.insert(0, {LIB!r})
from lib.shares import Shares

@pytest.fixture(scope="session", params=["io_uring", "epoll"])
def engine(request):
    return request.param

def pytest_configure(config):
    config.pluginmanager.register(Shares("shares", "SLUICE_BACKWARDS" in os.environ,
                                         ["io_uring", "epoll"]))
"""
MODULE = """
import time
def test_one(engine): time.sleep(0.01)
def test_two(engine): time.sleep(0.01)
def test_alone(): pass
"""


def start(directory, **env):
    return subprocess.Popen([sys.executable, "-B", "-m", "pytest", "-v", "-p", "no:cacheprovider",
                             "tests"], cwd=directory, env=dict(os.environ, **env), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def passed(session):
    output, _ = session.communicate(timeout=60)
    assert session.returncode == 0, output
    return [line.split()[0] for line in output.splitlines() if line.endswith("]") and "PASSED" in line]


def test_each_test_runs_once_in_one_of_the_sessions(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "shares").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST)
    for name in "abcdefgh":
        (tmp_path / "tests" / f"test_{name}.py").write_text(MODULE)
    sessions = [start(tmp_path), start(tmp_path, SLUICE_BACKWARDS="1")]
    first, second = [passed(session) for session in sessions]
    assert not set(first) & set(second)
    assert sorted(first + second) == sorted(
        f"tests/test_{name}.py::test_{test}" for name in "abcdefgh"
        for test in ("one[io_uring]", "one[epoll]", "two[io_uring]", "two[epoll]", "alone"))
    assert (tmp_path / "shares" / "count").read_text() == "40"
