"""
Contenders measured in turn. A round is one short run against each of them, in an order that rotates,
so that what else happens on the machine meets all of them alike. All samples are kept.
"""
import time

from . import machine
from .load import BadLoad

WARM_UP_S = 0.1

# Figure: unit, which is better.
FIGURES = {
    "requests": ("1/s", max),
    "p50": ("us", min),
    "p99": ("us", min),
    "proxy_cpu": ("us/request", min),  # all threads of the proxy, io_uring's workers included
    "kernel_cpu": ("us/request", min), # kernel threads, whatever they did meanwhile
    "total_cpu": ("us/request", min),  # both of these, the backend and the load
}


def run_load(proxy, load, seconds, cpus, begin=lambda: None):
    try:
        return load.run(proxy.tls_port if load.tls else proxy.port, seconds, cpus, begin)
    except BadLoad as error:
        raise BadLoad(f"{proxy.name}: {error}") from None


def take_sample(proxy, backend, load, seconds, cpus=None):
    """One measured run. `proxy` and `backend` are programs that run."""
    before = {}

    def begin():
        before.update(kernel=machine.kernel_cpu_ns(), ticks=machine.busy_ticks(),
                      started=time.monotonic(), proxy_ns=proxy.cpu_ns(),
                      backend_ns=backend.cpu_ns())

    found = run_load(proxy, load, seconds, cpus, begin)
    proxy_ns, backend_ns = (proxy.cpu_ns() - before["proxy_ns"],
                            backend.cpu_ns() - before["backend_ns"])
    took_s = time.monotonic() - before["started"]
    kernel_ns = machine.kernel_difference_ns(before["kernel"], machine.kernel_cpu_ns())
    busy_s = (machine.busy_ticks() - before["ticks"]) / machine.TICKS_PER_S
    total_ns = proxy_ns + backend_ns + kernel_ns + found["cpu_ns"]
    per_request = 1000 * found["requests"]
    return {
        "requests": found["requests"] / found["seconds"],
        "p50": found["p50_us"],
        "p99": found["p99_us"],
        "proxy_cpu": proxy_ns / per_request,
        "kernel_cpu": kernel_ns / per_request,
        "backend_cpu": backend_ns / per_request,
        "load_cpu": found["cpu_ns"] / per_request,
        "total_cpu": total_ns / per_request,
        # CPUs that were busy with what is not ours, and how much of a CPU the proxy had.
        "others": max(0.0, busy_s - total_ns / 1e9) / took_s,
        "proxy_share": proxy_ns / 1e9 / took_s,
        "count": found["requests"],
    }


def measure(proxies, backend, load, rounds, seconds, cpus=None):
    """name -> list of samples, one per round."""
    samples = {proxy.name: [] for proxy in proxies}
    for turn in range(rounds):
        for nth in range(len(proxies)):
            proxy = proxies[(nth + turn) % len(proxies)]
            run_load(proxy, load, min(WARM_UP_S, seconds), cpus)
            samples[proxy.name].append(take_sample(proxy, backend, load, seconds, cpus))
    return samples
