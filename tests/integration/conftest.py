"""
Fixtures of the integration tests. Root, network namespaces and BPF are needed.

SLUICE_BUILD    where the binaries are (default: build)
SLUICE_ENGINES  "io_uring,epoll" by default: tests run once under each, but those of modules marked
                one_engine, whose subject no engine has a part in, only under the first
SLUICE_LONG     1: full counts
SLUICE_SEED     seed of the random tests; the one used is printed in the report's header
SLUICE_SHARE    a directory: another session with the same one does a part of the tests (lib/shares.py);
                with SLUICE_BACKWARDS=1 this one begins with the last
"""
import atexit
import os
import random
import re
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from lib import lanes, leftovers  # noqa: E402
from lib.daemon import daemon  # noqa: E402
from lib.group import Group  # noqa: E402
from lib.netns import Topology  # noqa: E402
from lib.programs import build_dir  # noqa: E402
from lib.shares import Shares  # noqa: E402

ENGINES = [name for name in os.environ.get("SLUICE_ENGINES", "io_uring,epoll").split(",") if name]
LONG = os.environ.get("SLUICE_LONG") == "1"
TEST_DEADLINE_S = 1200 if LONG else 150
SEED = int(os.environ.setdefault("SLUICE_SEED", str(random.SystemRandom().randrange(1 << 32))))


def pytest_report_header():
    return f"sluice: {build_dir()}, engines {', '.join(ENGINES)}, long {LONG}, seed {SEED}"


def pytest_configure(config):
    config.addinivalue_line("markers", "one_engine(yes=True): the engine has no part in what is "
                            "tested; a test may say False where its module says True")
    if "SLUICE_SHARE" in os.environ:
        config.pluginmanager.register(Shares(os.environ["SLUICE_SHARE"],
                                             "SLUICE_BACKWARDS" in os.environ, ENGINES))


def is_once_too_often(item):
    mark = item.get_closest_marker("one_engine")
    engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
    return mark and mark.args != (False,) and engine not in (None, ENGINES[0])


def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=[item for item in items if is_once_too_often(item)])
    items[:] = [item for item in items if not is_once_too_often(item)]
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Several workers: tests that share a daemon, of one module and engine, go to one of them."""
    from xdist.scheduler import LoadScopeScheduling

    class ByDaemon(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module, _, test = nodeid.partition("::")
            return " ".join([module] + [engine for engine in ENGINES
                                        if re.search(rf"[\[-]{engine}[\]-]", test)])

    return ByDaemon(config, log)


def _end(*_):
    raise KeyboardInterrupt("SIGTERM")


@pytest.fixture(scope="session", autouse=True)
def machine():
    """The machine is left as it was found, whatever happened in between."""
    if os.geteuid() != 0:
        yield
        return
    leftovers.mount_bpffs()
    leftovers.sweep()
    before = leftovers.state()
    atexit.register(leftovers.remove_own)
    old_handler = signal.signal(signal.SIGTERM, _end)
    try:
        yield
        left = leftovers.state() - before
    finally:
        signal.signal(signal.SIGTERM, old_handler)
        leftovers.remove_own()
        atexit.unregister(leftovers.remove_own)
    assert not left, "left behind: " + ", ".join(sorted(left))


@pytest.fixture(autouse=True)
def deadline(machine):
    """A test that hangs ends here with the place where it hangs, and the others go on."""

    def over(*_):
        pytest.fail(f"the test did not end within {TEST_DEADLINE_S} s")

    old_handler = signal.signal(signal.SIGALRM, over)
    signal.alarm(TEST_DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old_handler)


@pytest.fixture(scope="session")
def topology(machine):
    topology = Topology()
    try:
        yield topology.create()
    finally:
        topology.destroy()


@pytest.fixture(scope="session")
def workdir(machine):
    """Readable by the user that sluiced becomes, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir=leftovers.TMP,
                                     prefix=f"{leftovers.TMP_PREFIX}{os.getpid()}-") as directory:
        os.chmod(directory, 0o755)
        os.makedirs(leftovers.pin_dir(), exist_ok=True)
        try:
            yield directory
        finally:
            leftovers.remove_pins(os.getpid())


@pytest.fixture(scope="session", params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture
def rng(request):
    """The same for the same seed and test."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def long():
    return LONG


@pytest.fixture
def sluice(topology, workdir, engine):
    """A daemon of the test's own, not started."""
    with daemon(topology, workdir, engine) as sluice:
        yield sluice


@pytest.fixture(scope="module")
def house(topology, workdir, engine):
    """The daemon that the tests of a module share, with the lanes of lib/lanes.py."""
    with daemon(topology, workdir, engine) as sluice:
        sluice.lanes_taken = 0
        sluice.configure(lanes.config())
        yield sluice.start()


@pytest.fixture
def lane(topology, house):
    """The test's own route, upstream and scripted backend in the shared daemon."""
    number = house.lanes_taken
    assert number < lanes.COUNT, "raise lanes.COUNT"
    house.lanes_taken += 1
    lane = lanes.Lane(topology, house, number)
    try:
        yield lane
        lane.backend.check()
    finally:
        lane.close()


@pytest.fixture
def group(sluice, topology):
    """Makes upstreams of scripted endpoints, with a daemon of their own (lib/group.py)."""
    groups = []

    def make(*args, **kwargs):
        groups.append(Group(sluice, topology, *args, **kwargs))
        return groups[-1]

    yield make
    for each in groups:
        each.__exit__(None)


@pytest.fixture(params=["http1", "http2"])
def gate(house, request):
    """A module's `house`, a Gate with its daemon, asked by either protocol."""
    house.protocol = request.param
    with house.open_backend() as backend:
        yield house
    backend.check()
