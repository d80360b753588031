"""Static files: the right bytes of the right file, and nothing outside the root."""
import email.parser
import hashlib
import os
import socket
import stat
from pathlib import Path

import pytest

from lib.daemon import Sluice
from lib.netns import BACKEND, SLUICE
from lib.payload import payload
from lib.programs import start_nginx
from lib.wait import wait_until, wait_until_still
from lib.wire import Truncated, Wire, request

MIB = 1 << 20
BIG_BYTES, HUGE_BYTES = 4 * MIB, 100 * MIB
OLD = 1_600_000_000  # a time long ago: tags are strong
SECRET = b"nobody may see this"
NGINX_PORT = 8090
OWN_PORT = 8084  # of a second daemon

CONFIG = """
listeners:
  - {{ name: web, address: "{address}:80" }}
routes:
  - {{ name: root, match: {{ hosts: [ files.test ] }}, files: {{ root: nginx/www }} }}
  - name: below
    match: {{ hosts: [ below.test ], path: {{ prefix: /assets }} }}
    files: {{ root: nginx/www, headers: {{ cache-control: "max-age=600" }} }}
  - name: one
    match: {{ hosts: [ below.test ], path: {{ exact: /deep/one.txt }} }}
    files: {{ root: nginx/www }}
  - name: all
    match: {{ hosts: [ hidden.test ] }}
    files: {{ root: nginx/www, hidden: on, index: [ start.txt, index.html ] }}
  - {{ name: switched, match: {{ hosts: [ switched.test ] }}, files: {{ root: {deploy}/current }} }}
"""


def write(path, data, age=True):
    path.write_bytes(data)
    if age:
        os.utime(path, (OLD, OLD))


def make_tree(www):
    """What is served; beside it lies what must not be."""
    write(www.parent / "secret.txt", SECRET)
    for name in ("sub/deeper", "empty", ".git", ".well-known/acme", "closed"):
        (www / name).mkdir(parents=True)
    write(www / "index.html", b"<p>index\n")
    write(www / "one.txt", b"one\n")
    write(www / "nothing.txt", b"")
    write(www / "a b%c\u00e9.txt", b"odd\n")
    write(www / "sub" / "index.html", b"<p>sub\n")
    write(www / "sub" / "start.txt", b"start\n")
    write(www / ".git" / "config", b"hidden\n")
    write(www / ".well-known" / "acme" / "token", b"token\n")
    for size in (8192, 8193, 10_000, 70_000):
        write(www / f"{size}.bin", payload(size, size))
    write(www / "unreadable.txt", SECRET)
    (www / "unreadable.txt").chmod(0)
    (www / "closed").chmod(0)
    os.mkfifo(www / "fifo")
    os.mknod(www / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(www / "socket"))
    for name, target in (("inner", "one.txt"), ("sub/up", "../one.txt"), ("subdir", "sub"),
                         ("out", "../secret.txt"), ("outdir", ".."),
                         ("sub/out", "../../secret.txt"), ("absolute", "/etc/passwd"),
                         ("procroot", "/proc/self/root"), ("self", "/proc/self"), ("loop", "loop"),
                         ("own", str(www / "one.txt"))):
        (www / name).symlink_to(target)


class Site:
    def __init__(self, topology, sluice, www, deploy):
        self.topology, self.sluice, self.www, self.deploy = topology, sluice, www, deploy
        self.wires = []

    def connect(self, port=80, **kwargs):
        wire = Wire(self.topology.connect("client", SLUICE, port, **kwargs))
        self.wires.append(wire)
        return wire

    def ask(self, target, method="GET", fields=(), host="files.test", body=None):
        return self.connect().ask(target, method, fields, body, host)

    def ask_nginx(self, target, method="GET", fields=()):
        with Wire(self.topology.connect("backends", BACKEND[2], NGINX_PORT)) as wire:
            return wire.ask(target, method, fields, None, "files.test")

    def close(self):
        for wire in self.wires:
            wire.close()
        self.wires = []


@pytest.fixture(scope="module")
def served(topology, workdir, engine):
    """A daemon, and an nginx that serves the same tree."""
    sluice = Sluice(topology, workdir, engine)
    nginx = None
    try:
        # start_nginx() makes the directory that it serves.
        nginx = start_nginx(topology, sluice.directory / "nginx", BACKEND[2], NGINX_PORT, {})
        www = sluice.directory / "nginx" / "www"
        make_tree(www)
        # Not below the directory of the configuration, which may be read anyway.
        deploy = Path(workdir) / f"deploy-{sluice.name}"
        for name in ("first", "second"):
            (deploy / name).mkdir(parents=True)
            write(deploy / name / "which", name.encode())
        (deploy / "current").symlink_to("first")
        sluice.configure(CONFIG.format(address=SLUICE, deploy=deploy))
        sluice.start()
        yield Site(topology, sluice, www, deploy)
        sluice.stop()
    finally:
        if nginx:
            nginx.close()
        sluice.dispose()


@pytest.fixture
def site(served):
    try:
        yield served
        assert served.sluice.process.poll() is None
    finally:
        served.close()


# ---- which file

FOUND = [
    ("/one.txt", b"one\n", "text/plain; charset=utf-8"),
    ("/", b"<p>index\n", "text/html; charset=utf-8"),
    ("/sub/", b"<p>sub\n", "text/html; charset=utf-8"),
    ("/nothing.txt", b"", "text/plain; charset=utf-8"),
    ("/a%20b%25c%C3%A9.txt", b"odd\n", "text/plain; charset=utf-8"),
    ("/sub/../one.txt?x=/../y", b"one\n", "text/plain; charset=utf-8"),
    ("/%6fne.txt", b"one\n", "text/plain; charset=utf-8"),
    ("/.well-known/acme/token", b"token\n", "application/octet-stream"),
    ("/inner", b"one\n", "application/octet-stream"),
    ("/sub/up", b"one\n", "application/octet-stream"),
    ("/subdir/", b"<p>sub\n", "text/html; charset=utf-8"),
    ("/8192.bin", payload(8192, 8192), "application/octet-stream"),
    ("/8193.bin", payload(8193, 8193), "application/octet-stream"),
]


def test_files_are_found_and_described(site):
    wire = site.connect()
    for target, body, media_type in FOUND:
        answer = wire.ask(target, host="files.test")
        assert (answer.status, answer.body) == (200, body), target
        assert answer.get("content-type") == media_type, target
        assert answer.get("accept-ranges") == "bytes"
        assert answer.get("last-modified") == "Sun, 13 Sep 2020 12:26:40 GMT"
        assert answer.get("etag").startswith('"')


def test_a_prefix_is_taken_off_and_an_exact_path_names_its_last_segment(site):
    for target in ("/assets/one.txt", "/deep/one.txt"):
        answer = site.ask(target, host="below.test")
        assert (answer.status, answer.body) == (200, b"one\n"), target
    assert site.ask("/assets/one.txt", host="below.test").get("cache-control") == "max-age=600"
    assert site.ask("/assets/", host="below.test").body == b"<p>index\n"
    assert site.ask("/assets/assets/one.txt", host="below.test").status == 404
    assert site.ask("/one.txt", host="below.test").status == 404


def test_a_directory_is_redirected_to_its_slash_with_the_query_kept(site):
    for target, host, location in (("/sub", "files.test", "/sub/"),
                                   ("/sub?a=/b&c", "files.test", "/sub/?a=/b&c"),
                                   ("/subdir", "files.test", "/subdir/"),
                                   ("/assets", "below.test", "/assets/"),
                                   ("/assets/sub?", "below.test", "/assets/sub/?")):
        answer = site.ask(target, host=host)
        assert (answer.status, answer.get("location")) == (301, location)


def test_hidden_names_are_served_only_where_they_are_asked_for(site):
    for target in ("/.git/config", "/%2egit/config", "/.well-known/../.git/config", "/.git/"):
        assert site.ask(target).status == 404, target
    assert site.ask("/.git/config", host="hidden.test").body == b"hidden\n"


def test_the_first_index_that_is_there_is_taken(site):
    assert site.ask("/sub/", host="hidden.test").body == b"start\n"
    assert site.ask("/", host="hidden.test").body == b"<p>index\n"


# ---- what is refused

# HARDENING 22: one canonical path, and nothing outside the root by whatever spelling or link.
TRAVERSALS = [
    "/../secret.txt", "/sub/../../secret.txt", "/%2e%2e/secret.txt", "/.%2e/secret.txt",
    "/%2e%2e%2fsecret.txt", "/..%2fsecret.txt", "/..%5csecret.txt", "/..\\secret.txt",
    "/%252e%252e/secret.txt", "/sub/%2e%2e/%2e%2e/secret.txt", "//../secret.txt",
    "/./../secret.txt", "/sub//../../secret.txt", "/..;/secret.txt", "/%c0%ae%c0%ae/secret.txt",
    "/one.txt%00.html", "/one.txt/", "/one.txt/x", "//one.txt", "/sub//index.html",
    "/one.txt/../../secret.txt", "/out", "/outdir", "/outdir/", "/outdir/secret.txt", "/sub/out", "/subdir/out", "/absolute",
    "/procroot", "/procroot/etc/passwd", "/self/cwd/", "/self/root/etc/passwd", "/loop", "/loop/x",
    "/own", "/fifo", "/null", "/socket", "/nowhere", "/nowhere/", "/empty/", "/" + "x" * 300,
    "/" + "y/" * 2500,
]


def test_h22_nothing_outside_the_root_and_no_device_is_reached(site):
    for target in TRAVERSALS:
        answer = site.ask(target)
        assert answer.status in (400, 404), f"{target}: {answer}"
        assert SECRET not in answer.body and b"root:" not in answer.body, target


def test_h22_hidden_files_on_opens_no_way_out(site):
    for target in TRAVERSALS:
        answer = site.ask(target, host="hidden.test")
        assert answer.status in (400, 404), f"{target}: {answer}"
        assert SECRET not in answer.body and b"root:" not in answer.body, target


def test_what_the_daemon_may_not_read_is_403(site):
    for target in ("/unreadable.txt", "/closed", "/closed/", "/closed/x"):
        assert site.ask(target).status == 403, target


def test_other_methods_are_405(site):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"):
        answer = site.ask("/one.txt", method, body=b"x")
        assert (answer.status, answer.get("allow")) == (405, "GET, HEAD"), method


def test_without_descriptors_the_answer_is_503_and_later_200(sluice, topology):
    (sluice.directory / "one.txt").write_bytes(b"one\n")
    sluice.configure(f'listeners: [ {{ name: web, address: "{SLUICE}:{OWN_PORT}" }} ]\n'
                     "routes: [ { name: files, files: { root: . } } ]\n", workers=1)
    sluice.descriptors = 160
    sluice.start()
    with Wire(topology.connect("client", SLUICE, OWN_PORT)) as wire:
        assert wire.ask("/one.txt").body == b"one\n"
        idle = [topology.connect("client", SLUICE, OWN_PORT) for _ in range(160)]
        wait_until(lambda: wire.ask("/one.txt").status == 503, "there is no descriptor left")
        for sock in idle:
            sock.close()
        wait_until(lambda: wire.ask("/one.txt").status == 200, "files can be opened again")
        assert wire.ask("/one.txt").body == b"one\n"


# ---- the connection lives on

def test_the_connection_lives_on_after_each_kind_of_answer(site):
    wire = site.connect()
    tag = wire.ask("/one.txt", host="files.test").get("etag")
    for target, method, fields, status in (
            ("/one.txt", "GET", [], 200), ("/one.txt", "HEAD", [], 200),
            ("/70000.bin", "GET", [], 200), ("/70000.bin", "HEAD", [], 200),
            ("/nothing.txt", "GET", [], 200), ("/sub", "GET", [], 301),
            ("/one.txt", "GET", [f"If-None-Match: {tag}"], 304),
            ("/one.txt", "GET", ['If-Match: "x"'], 412), ("/nowhere", "GET", [], 404),
            ("/unreadable.txt", "GET", [], 403), ("/one.txt", "POST", [], 405),
            ("/70000.bin", "GET", ["Range: bytes=5-60000"], 206),
            ("/70000.bin", "GET", ["Range: bytes=0-1,60000-"], 206),
            ("/70000.bin", "GET", ["Range: bytes=70000-"], 416)) * 2:
        answer = wire.ask(target, method, fields, host="files.test")
        assert answer.status == status, (target, method, fields)
        assert answer.get("connection") is None
    answer = wire.ask("/one.txt", "GET", [], b"a body that nobody wants", "files.test")
    assert (answer.status, answer.body) == (200, b"one\n")
    assert wire.ask("/one.txt", host="files.test").status == 200


def test_pipelined_requests_for_small_and_large_files_are_answered_in_order(site):
    wire = site.connect()
    targets = ["/one.txt", "/70000.bin", "/nothing.txt", "/10000.bin", "/sub/", "/70000.bin"] * 5
    wire.send(b"".join(request(target, host="files.test") for target in targets))
    for target in targets:
        name = "sub/index.html" if target == "/sub/" else target[1:]
        assert wire.read_response().body == (site.www / name).read_bytes()


def test_http_10_gets_a_file_and_the_end(site):
    wire = site.connect()
    wire.send(request("/70000.bin", host="files.test", version="HTTP/1.0"))
    assert wire.read_response().body == payload(70_000, 70_000)
    assert wire.is_closed()


def test_head_has_the_fields_of_get(site):
    for target in ("/one.txt", "/70000.bin", "/nothing.txt", "/sub", "/nowhere"):
        get, head = site.ask(target), site.ask(target, "HEAD")
        assert head.status == get.status
        different = {"date"}
        assert [field for field in get.fields if field[0] not in different] == \
            [field for field in head.fields if field[0] not in different]
    assert site.ask("/10000.bin", "HEAD", ["Range: bytes=0-1"]).status == 200  # RFC 9110 14.2


# ---- conditions and ranges

def test_conditions_are_obeyed_for_large_and_small_files(site):
    for target in ("/one.txt", "/70000.bin"):
        whole = site.ask(target)
        tag, date = whole.get("etag"), whole.get("last-modified")
        for fields, status in ((["If-None-Match: " + tag], 304), (["If-None-Match: W/" + tag], 304),
                               (["If-None-Match: *"], 304), (['If-None-Match: "x"'], 200),
                               (["If-Modified-Since: " + date], 304),
                               (["If-Modified-Since: Sun, 13 Sep 2020 12:26:39 GMT"], 200),
                               (['If-None-Match: "x"', "If-Modified-Since: " + date], 200),
                               (["If-Match: " + tag], 200), (['If-Match: "x"'], 412),
                               (["If-Unmodified-Since: " + date], 200),
                               (["If-Unmodified-Since: Sun, 13 Sep 2020 12:26:39 GMT"], 412),
                               (["Range: bytes=0-1", "If-Range: " + tag], 206),
                               (["Range: bytes=0-1", 'If-Range: "x"'], 200),
                               (["Range: bytes=0-1", "If-Range: " + date], 206),
                               (["Range: bytes=0-1", "If-None-Match: " + tag], 304)):
            answer = site.ask(target, fields=fields)
            assert answer.status == status, fields
            if status == 304:
                assert answer.get("etag") == tag and answer.get("last-modified") == date
                assert answer.get("content-length") is None
            assert answer.body == (whole.body[:2] if status == 206 else
                                   whole.body if status == 200 else answer.body)


def test_304_says_what_200_says_about_caching(site):
    whole = site.ask("/assets/one.txt", host="below.test")
    again = site.ask("/assets/one.txt", fields=["If-None-Match: " + whole.get("etag")],
                     host="below.test")
    assert (again.status, again.get("cache-control")) == (304, "max-age=600")


def test_a_file_that_has_just_changed_has_a_weak_tag_and_no_ranges_by_it(site):
    path = site.www / "fresh.txt"
    write(path, b"fresh", age=False)
    answer = site.ask("/fresh.txt")
    if answer.get("etag").startswith("W/"):  # unless the machine slept for seconds
        for validator in (answer.get("etag"), answer.get("last-modified")):
            again = site.ask("/fresh.txt", fields=["Range: bytes=0-1", "If-Range: " + validator])
            assert again.status == 200 or not site.ask("/fresh.txt").get("etag").startswith("W/")
    os.utime(path, (OLD, OLD))
    assert site.ask("/fresh.txt").get("etag") != answer.get("etag")


def parts_of(answer):
    """(content-range, content-type, body) of each part of a multipart answer."""
    parser = email.parser.BytesParser()
    message = parser.parsebytes(b"Content-Type: " + answer.get("content-type").encode() +
                                b"\r\n\r\n" + answer.body)
    boundary = message.get_boundary().encode()
    pieces = answer.body.split(b"--" + boundary)
    assert pieces[-1] == b"--\r\n" and pieces[0] in (b"", b"\r\n")
    found = []
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        fields = {name.lower(): value.strip() for name, _, value in
                  (line.partition(":") for line in head.decode().strip().split("\r\n"))}
        assert body.endswith(b"\r\n")
        found.append((fields["content-range"], fields["content-type"], body[:-2]))
    return found


def random_ranges(rng, size):
    """Well-formed, and few enough that both servers answer them as ranges."""
    def one():
        kind = rng.random()
        first = rng.randrange(size + 5)
        if kind < 0.2:
            return f"-{rng.randrange(1, size + 10)}"
        if kind < 0.4:
            return f"{first}-"
        return f"{first}-{first + int(2 ** rng.uniform(0, 14)) - 1}"

    count = rng.choice([1, 1, 2, 3, 8])
    return "bytes=" + rng.choice([",", ", "]).join(one() for _ in range(count))


def test_ranges_are_those_of_nginx(site, rng, long):
    """Another program's reading of the same requests and files."""
    for turn in range(500 if long else 120):
        name = rng.choice(["one.txt", "8192.bin", "10000.bin", "70000.bin"])
        value = random_ranges(rng, (site.www / name).stat().st_size)
        ours = site.ask("/" + name, fields=["Range: " + value])
        theirs = site.ask_nginx("/" + name, fields=["Range: " + value])
        what = f"{turn}: {name} {value}"
        assert ours.status == theirs.status, what
        assert ours.get("content-range") == theirs.get("content-range"), what
        if (ours.get("content-type") or "").startswith("multipart/"):
            assert theirs.get("content-type").startswith("multipart/"), what
            assert [(part[0], part[2]) for part in parts_of(ours)] == \
                [(part[0], part[2]) for part in parts_of(theirs)], what
            assert len(ours.body) == int(ours.get("content-length"))
        elif ours.status in (200, 206):
            assert ours.body == theirs.body, what
        site.close()


def test_parts_say_their_range_and_type(site):
    answer = site.ask("/one.txt", fields=["Range: bytes=0-0,2-"])
    assert answer.status == 206 and answer.get("content-range") is None
    assert parts_of(answer) == [("bytes 0-0/4", "text/plain; charset=utf-8", b"o"),
                                ("bytes 2-3/4", "text/plain; charset=utf-8", b"e\n")]
    other = site.ask("/one.txt", fields=["Range: bytes=0-0,2-"])
    assert other.get("content-type") != answer.get("content-type"), "boundaries must differ"


def test_h14_ranges_that_would_cost_more_than_the_file_get_the_file(site):
    whole = payload(70_000, 70_000)
    wire = site.connect()
    for value in ("bytes=" + ",".join(f"{i % 10}-{i % 10}" for i in range(4000)),
                  "bytes=" + ",".join(["0-"] * 1000), "bytes=0-69999,0-1",
                  "bytes=" + ",".join(f"{i}-{i}" for i in range(17)), "bytes=" + "," * 15_000,
                  "bytes=5-4", "lines=0-1"):
        answer = wire.ask("/70000.bin", "GET", ["Range: " + value], None, "files.test")
        assert (answer.status, answer.body) == (200, whole), value[:40]
    ten_thousand = "bytes=" + ",".join(f"{i % 10}-{i % 10}" for i in range(10_000))
    assert site.ask("/70000.bin", fields=["Range: " + ten_thousand]).status == 431


def test_an_empty_file_has_no_ranges(site):
    answer = site.ask("/nothing.txt", fields=["Range: bytes=0-"])
    assert (answer.status, answer.get("content-range")) == (416, "bytes */0")


# ---- large files

class Digest:
    def __init__(self):
        self.hash, self.count = hashlib.sha256(), 0

    def __call__(self, data):
        self.hash.update(data)
        self.count += len(data)


@pytest.fixture(scope="module")
def large(served):
    """name -> digest; of random bytes, so that a shift shows."""
    found = {}
    for name, size in (("big.bin", BIG_BYTES), ("huge.bin", HUGE_BYTES)):
        digest = hashlib.sha256()
        with open(served.www / name, "wb") as file:
            for at in range(0, size, MIB):
                piece = payload(at + at // (4 * MIB) * 1013, MIB)
                digest.update(piece)
                file.write(piece)
        found[name] = (size, digest.hexdigest())
    return found


def test_large_files_arrive_whole(site, large):
    wire = site.connect()
    for name in ("big.bin", "huge.bin", "big.bin"):
        digest = Digest()
        wire.send(request("/" + name, host="files.test"))
        assert wire.read_response(sink=digest).status == 200
        assert (digest.count, digest.hash.hexdigest()) == large[name]


def test_a_slow_reader_gets_a_large_file_whole_and_keeps_nobody_waiting(site, large):
    slow = site.connect(receive_bytes=4096)
    slow.send(request("/huge.bin", host="files.test"))
    head = slow.read_response_head()
    digest = Digest()
    for _ in range(15):
        assert site.ask("/70000.bin").status == 200
    for _ in range(50):
        slow.fill()
        digest(bytes(slow.buffer))
        slow.buffer.clear()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    slow.read_body(head, HUGE_BYTES - digest.count, digest)
    assert (digest.count, digest.hash.hexdigest()) == large["huge.bin"]
    assert slow.ask("/one.txt", host="files.test").body == b"one\n"


def test_many_ranges_of_a_large_file_arrive_as_asked(site, large):
    digest = Digest()
    ranges = [(1, 3 * MIB), (50 * MIB + 7, 60 * MIB), (99 * MIB, 100 * MIB - 1)]
    answer = site.ask("/huge.bin", fields=["Range: bytes=" + ",".join(
        f"{first}-{last}" for first, last in ranges)])
    assert answer.status == 206
    with open(site.www / "huge.bin", "rb") as file:
        for (first, last), part in zip(ranges, parts_of(answer), strict=True):
            file.seek(first)
            assert part[0] == f"bytes {first}-{last}/{HUGE_BYTES}"
            assert part[2] == file.read(last - first + 1)
            digest(part[2])
    assert digest.count == sum(last - first + 1 for first, last in ranges)


def test_a_client_that_goes_in_the_middle_leaves_nothing_open(site, large):
    def descriptors():
        return len(os.listdir(f"/proc/{site.sluice.pid}/fd"))

    before = wait_until_still(descriptors, "the number of descriptors")
    for kind in ("close", "reset") * 5:
        wire = site.connect(receive_bytes=4096)
        wire.send(request("/huge.bin", host="files.test"))
        wire.read_response_head()
        getattr(wire, kind)()
    site.close()
    assert wait_until_still(descriptors, "the number of descriptors", samples=50) <= before


# ---- files that change

def begin_slow_download(site, name, size):
    """A connection on which the head and a little of the body were read."""
    path = site.www / name
    with open(path, "wb") as file:
        file.truncate(size)
    wire = site.connect(receive_bytes=4096)
    wire.send(request("/" + name, host="files.test"))
    head = wire.read_response_head()
    assert int(head.get("content-length")) == size
    return path, wire


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection_unpadded(site):
    path, wire = begin_slow_download(site, "shrinking.bin", 64 * MIB)
    os.truncate(path, 1 * MIB)
    digest = Digest()
    with pytest.raises(Truncated):
        wire.read_body(wire, 64 * MIB, digest)
    assert digest.count < 64 * MIB
    path.unlink()
    assert site.ask("/one.txt").status == 200


def test_a_file_that_is_replaced_while_it_is_sent_is_sent_as_it_was(site):
    path, wire = begin_slow_download(site, "replaced.bin", 32 * MIB)
    beside = path.with_suffix(".new")
    write(beside, b"new")
    beside.rename(path)
    digest = Digest()
    wire.read_body(wire, 32 * MIB, digest)
    assert digest.hash.hexdigest() == hashlib.sha256(bytes(32 * MIB)).hexdigest()
    assert site.ask("/replaced.bin").body == b"new"
    path.unlink()


# ---- configuration

def test_a_reload_follows_a_link_that_was_switched(site):
    current = site.deploy / "current"
    assert site.ask("/which", host="switched.test").body == b"first"
    beside = site.deploy / "current.new"
    beside.symlink_to("second")
    beside.rename(current)
    assert site.ask("/which", host="switched.test").body == b"first"
    try:
        site.sluice.reload()
        assert site.ask("/which", host="switched.test").body == b"second"
    finally:
        current.unlink()
        current.symlink_to("first")
        site.sluice.reload()
    assert site.ask("/which", host="switched.test").body == b"first"


def test_what_is_sent_is_counted(site):
    before = site.sluice.route("root")
    site.ask("/70000.bin")
    site.ask("/one.txt", fields=["Range: bytes=0-1"])
    site.ask("/one.txt", "HEAD")
    site.close()

    def grown():
        return site.sluice.route("root")["bytes_out"] - before["bytes_out"]

    assert wait_until_still(grown, "the counter", samples=5) == 70_002
    assert site.sluice.route("root")["action"] == "files"
    assert str(site.www) in site.sluice.cli("route", "show", "name", "root").stdout


def test_a_directory_out_of_reach_since_the_start_is_refused_by_a_reload(site, workdir):
    """HARDENING 33: what may be read is settled when the daemon starts, where Landlock is."""
    if not site.sluice.admin("/v1/status")["privileges"]["landlock"]:
        pytest.skip("no Landlock here")
    elsewhere = Path(workdir) / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    config = site.sluice.config_path.read_text()
    site.sluice.write(config.replace(f"{site.deploy}/current", str(elsewhere)))
    try:
        done = site.sluice.cli("config", "reload")
        assert done.returncode != 0 and "restart it" in done.stderr, done
    finally:
        site.sluice.write(config)
    site.sluice.reload()
    assert site.ask("/which", host="switched.test").body == b"first"
