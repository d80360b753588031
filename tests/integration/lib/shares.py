"""
Two sessions that run the tests together, one from the first on and one from the last.

What goes to either as a whole is what one daemon serves: the tests of a module under one engine.
Who comes to it first makes a file of its name in a directory that both know, and the other passes
over it. They meet where they meet, so that nobody has to know how long a test takes.
"""
import contextlib
import itertools
import os
import re

import pytest

COUNT = "count"


class Shares:
    def __init__(self, directory, backwards, engines):
        self.directory = directory
        self.backwards = backwards
        self.engines = engines
        self.mine = {}

    def share_of(self, item):
        module, _, test = item.nodeid.partition("::")
        engines = [name for name in self.engines if re.search(rf"[\[-]{name}[\]-]", test)]
        return "-".join([module.replace("/", "-")] + engines)

    @pytest.hookimpl(trylast=True)  # pytest has put them in the order of their fixtures
    def pytest_collection_modifyitems(self, items):
        if self.backwards:
            shares = [list(group) for _, group in itertools.groupby(items, self.share_of)]
            items[:] = itertools.chain.from_iterable(reversed(shares))

    def pytest_collection_finish(self, session):
        """For whoever started both: so many tests must have run."""
        with open(os.path.join(self.directory, COUNT), "w", encoding="ascii") as file:
            file.write(str(len(session.items)))

    def claim(self, share):
        if share not in self.mine:
            self.mine[share] = False
            with contextlib.suppress(FileExistsError):
                os.close(os.open(os.path.join(self.directory, share),
                                 os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                self.mine[share] = True
        return self.mine[share]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        return None if self.claim(self.share_of(item)) else True
