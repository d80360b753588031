"""Waiting for an event with a deadline. Nothing here sleeps and hopes."""
import threading
import time

DEADLINE_S = 20.0


class DeadlinePassed(AssertionError):
    pass


def wait_until(condition, what, deadline_s=DEADLINE_S, pause_s=0.01):
    """The first true value of condition(). `what` says in the failure what did not happen."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise DeadlinePassed(f"within {deadline_s:g} s it did not happen that {what}")
        time.sleep(pause_s)


def wait_until_still(sample, what, samples=25, pause_s=0.02, deadline_s=60.0):
    """Until sample() gave the same value that many times in a row: a flow that has stalled."""
    end = time.monotonic() + deadline_s
    last, same = sample(), 0
    while same < samples:
        if time.monotonic() > end:
            raise DeadlinePassed(f"within {deadline_s:g} s {what} did not come to rest")
        time.sleep(pause_s)
        value = sample()
        last, same = value, (same + 1 if value == last else 0)
    return last


class Thread(threading.Thread):
    """A thread whose exception and result come out at finish()."""

    def __init__(self, function, *args, **kwargs):
        super().__init__(daemon=True)
        self._function, self._args, self._kwargs = function, args, kwargs
        self._result = self._error = None
        self.start()

    def run(self):
        try:
            self._result = self._function(*self._args, **self._kwargs)
        except BaseException as error:  # handed over to the thread that calls finish()
            self._error = error

    def finish(self, deadline_s=120.0):
        self.join(deadline_s)
        if self.is_alive():
            raise DeadlinePassed(f"a thread did not end within {deadline_s:g} s")
        if self._error:
            raise self._error
        return self._result
