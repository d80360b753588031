"""tests/run counts what happened, above all when a test program does not end as it should."""
import importlib.machinery
import importlib.util
import os
import subprocess
import time

import pytest

RUN = os.path.realpath(os.path.join(os.path.dirname(__file__), "../run"))
loader = importlib.machinery.SourceFileLoader("tests_run", RUN)
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("tests_run", loader))
loader.exec_module(run)

GOOD = "echo '[ RUN      ] test_a'; echo '[       OK ] test_a'"
SKIPPED = "echo '[ RUN      ] test_s'; echo 'no such device'; echo '[  SKIPPED ] test_s'"
BAD = "echo '[ RUN      ] test_b'; echo '0x1 != 0x2'; echo '[  FAILED  ] test_b'"

# script, passed, failed, skipped
PROGRAMS = {
    "all_well": (GOOD, 1, 0, 0),
    "name_with_a_variant": ("echo '[ RUN      ] test_a [epoll]';"
                            "echo '[       OK ] test_a [epoll]'", 1, 0, 0),
    "skip_keeps_its_reason": (SKIPPED, 0, 0, 1),
    "failure": (GOOD + ";" + BAD + "; exit 1", 1, 1, 0),
    "crash_within_a_test": (GOOD + "; echo '[ RUN      ] test_c'; kill -SEGV $$", 1, 1, 0),
    "crash_after_the_tests": (GOOD + "; kill -ABRT $$", 1, 1, 0),
    "leak_report_after_the_tests": (GOOD + "; exit 23", 1, 1, 0),
    "no_test_at_all": ("true", 0, 1, 0),
}


@pytest.fixture(name="runner")
def make_runner(tmp_path):
    (tmp_path / "tests").mkdir()
    return run.Runner(run.Tally(), dict(os.environ, SLUICE_BUILD=str(tmp_path), TESTS=""))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_c_test_program_is_counted(runner, name):
    script, passed, failed, skipped = PROGRAMS[name]
    program = os.path.join(runner.build, "tests", name)
    with open(program, "w", encoding="utf-8") as file:
        file.write("#!/bin/bash\n" + script + "\n")
    os.chmod(program, 0o755)
    runner.cmocka_program(name)
    tally = runner.tally
    assert (tally.passed, len(tally.failures), tally.skipped) == (passed, failed, skipped)
    assert all("no such device" in reason for reason in tally.skips)


def test_a_c_test_program_that_was_not_built_is_a_failure(runner):
    runner.cmocka_program("missing")
    assert len(runner.tally.failures) == 1


def test_a_program_over_its_time_is_interrupted_and_its_children_end(runner, tmp_path):
    script = "trap 'touch %s/cleaned; exit 1' INT; sleep 1000 & echo $!; wait" % tmp_path
    status, output = runner.run(["bash", "-c", script], 5)  # a busy machine is slow to start it
    assert status is None
    assert (tmp_path / "cleaned").exists()
    child = int(output.split()[0])
    deadline = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < deadline


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_lines_are_counted_and_a_bad_end_without_them_is_a_failure(runner):
    runner.lines("x", ["printf", "ok a\\nskip b: no kernel\\nnot ok c\\n"], 10)
    runner.lines("y", ["false"], 10)
    runner.lines("z", ["true"], 10)
    tally = runner.tally
    assert tally.passed == 1
    assert tally.failures == ["x c", "y (exit status 1)", "z (nothing ran)"]
    assert tally.skips == ["x b: no kernel"]


def test_the_last_line_and_the_exit_status_tell_the_result(capsys):
    tally = run.Tally()
    tally.ok(3)
    tally.skip("a", "no kernel")
    assert tally.close() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed, 1 skipped"
    tally.fail("b")
    assert tally.close() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 1 failed, 1 skipped"


def test_what_tests_leave_behind_is_named():
    leftovers = run.Leftovers("test-run-%d" % os.getpid())
    env = dict(os.environ, SLUICE_TEST_RUN="test-run-%d" % os.getpid())
    with subprocess.Popen(["sleep", "1000"], env=env) as process:
        try:
            assert "process %d sleep 1000" % process.pid in leftovers.new()
        finally:
            process.kill()


def test_what_another_living_session_holds_is_not_ours(monkeypatch):
    leftovers = run.Leftovers("test-run-%d" % os.getpid())
    held = {"namespace sltest-%d-client" % os.getpid(), "program sl_main id 1"}
    monkeypatch.setattr(leftovers, "look", lambda: leftovers.before | held)
    assert leftovers.new() == []
    gone = {"namespace sltest-4194305-client", "program sl_main id 1"} # beyond any pid
    monkeypatch.setattr(leftovers, "look", lambda: leftovers.before | gone)
    assert leftovers.new() == sorted(gone)


class Scripted(run.Runner):
    """A group whose commands are the test's."""

    def group_hello(self):
        self.lines("hello", ["printf", "ok a\\nnot ok b\\n"], 10)

    def group_long(self):
        self.lines("long", ["bash", "-c", "touch $SCRATCH/began; exec sleep 1000"], 1000)


@pytest.fixture(name="lane")
def make_lane(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "Runner", Scripted)
    monkeypatch.setattr(run, "PROCESSES", run.Processes())
    env = dict(os.environ, SLUICE_BUILD=str(tmp_path), SCRATCH=str(tmp_path))
    return lambda groups: run.Lane("side", env, groups)


def test_groups_of_a_lane_are_counted_timed_and_told_apart(lane, capsys):
    tally = run.Tally()
    tally.ok()
    lane(["hello"]).finish(tally)
    assert (tally.passed, tally.failures) == (2, ["hello b"])
    assert [name for name, _ in tally.times] == ["side | hello"]
    lines = capsys.readouterr().out.splitlines()
    assert "side |   ok a" in lines and all(line.startswith("side | ") for line in lines)


def test_a_lane_that_cannot_go_on_is_a_failure(lane):
    tally = run.Tally()
    lane(["nonsense"]).finish(tally)
    assert len(tally.failures) == 1 and tally.failures[0].startswith("side (")


def test_a_run_that_is_stopped_ends_what_its_lanes_run(lane, tmp_path):
    side = lane(["long", "hello"])
    deadline = time.monotonic() + 10
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.PROCESSES.stop()
    side.join(10)
    assert not side.is_alive()
    assert side.runner.tally.passed == 0 # and the next group did not begin
