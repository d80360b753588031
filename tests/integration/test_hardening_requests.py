"""
HARDENING rules on the downstream side, one by one, in raw bytes. A refused request gets one error
answer and the end of its connection; what was hidden behind it is never parsed; and what a backend
got is either nothing or, for a fault inside a body, a request that never became complete.
"""
from lib.backend import messages_in
from lib.wire import Truncated, chunk, framing_of, request, response

HIDDEN = "GET /hidden HTTP/1.1\r\nHost: {host}\r\n\r\n"
POST = "POST /p HTTP/1.1\r\nHost: {host}\r\n"
GET = "GET /g HTTP/1.1\r\nHost: {host}\r\n"
CHUNKED = POST + "Transfer-Encoding: chunked\r\n\r\n"


def fill_in(lane, text):
    return text.replace("{host}", lane.host).encode("latin-1")


def refuse_all(lane, rows, statuses=(400,)):
    """rows: (what, bytes as text with {host}[, statuses]). All of them are tried."""
    wrong = []
    for what, text, *own in rows:
        allowed = own[0] if own else statuses
        wire = lane.connect()
        with wire.sending([fill_in(lane, text + HIDDEN)]):
            try:
                answer = wire.read_response()
                if answer.status not in allowed:
                    wrong.append(f"{what}: {answer.status} {answer.body[:100]}")
                elif answer.informational:
                    wrong.append(f"{what}: 1xx before the refusal")
                rest = wire.read_until_close()
                if rest:
                    wrong.append(f"{what}: {rest[:100]} after the refusal")
            except Truncated as error:
                wrong.append(f"{what}: no answer ({error})")
            except TimeoutError:
                wrong.append(f"{what}: the connection was not closed")
        wire.close()
    # The backend has all that it will get once it has answered this.
    assert lane.ask("/last").status == 200
    for connection in lane.backend.connections:
        complete, rest = messages_in(bytes(connection.record))
        for seen in complete:
            if seen.target != "/last":
                wrong.append(f"the backend got {seen}")
        if rest and b"/hidden" in rest.split(b"\r\n")[0]:
            wrong.append(f"the backend got {rest[:200]}")
    assert not wrong, "\n".join(wrong)


def nothing_reached(lane):
    assert [seen.target for seen in lane.backend.requests] == ["/last"]
    assert len(lane.backend.connections) == 1


def test_hardening_1_content_length_with_transfer_encoding_is_refused(lane):
    refuse_all(lane, [
        ("length first", POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("coding first", POST + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        ("length 0", POST + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("odd case", POST + "cOnTeNt-LeNgTh: 4\r\ntRaNsFeR-eNcOdInG: chunked\r\n\r\n0\r\n\r\n"),
        ("on GET", GET + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("identity", POST + "Content-Length: 4\r\nTransfer-Encoding: identity\r\n\r\nabcd",
         (400, 501)),
    ])
    nothing_reached(lane)


def test_hardening_2_transfer_encoding_other_than_one_chunked_is_refused(lane):
    rows = [(value, POST + f"Transfer-Encoding: {value}\r\n\r\n0\r\n\r\n", (400, 501)) for value in (
        "", ",chunked", "chunked,", "chunked;x", "chunked;q=1", "xchunked", "chunkedx",
        "chunked, chunked", "chunked, identity", "gzip, chunked", "gzip", "identity", "\"chunked\"",
        "chunked\x0b", "\x0bchunked", "chu nked", "chunked\x00", "chunk\xc3\xa9d")]
    rows += [
        ("twice", POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "0\r\n\r\n", (400, 501)),
        ("twice with identity", POST + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"
                                       "\r\n\r\n0\r\n\r\n", (400, 501)),
        ("on HTTP/1.0", "POST /p HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "0\r\n\r\n", (400, 501)),
    ]
    refuse_all(lane, rows)
    nothing_reached(lane)


def test_hardening_2_chunked_in_any_case_is_chunked(lane):
    wire = lane.connect()
    wire.send(request("/c", "POST", ["Transfer-Encoding: CHUNKED"], host=lane.host), b"0\r\n\r\n")
    assert wire.read_response().status == 200
    assert framing_of(lane.backend.requests[0]) in ("chunked", 0)


def test_hardening_3_content_length_is_one_plain_number(lane):
    rows = [(repr(value), POST + f"Content-Length: {value}\r\n\r\nabcd") for value in (
        "", "+4", "-4", "0x4", "4a", "4 4", "4,4", "4, 4", "4;", "4.0", "1e1", "\xb2", "\"4\"",
        "18446744073709551616", "99999999999999999999999999", "4\x0b", "٤".encode().decode("latin-1"))]
    rows += [
        ("twice, equal", POST + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        ("twice, different", POST + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"),
        ("twice, odd case", POST + "Content-Length: 4\r\ncontent-length: 4\r\n\r\nabcd"),
    ]
    refuse_all(lane, rows)
    nothing_reached(lane)


def test_hardening_3_leading_zeros_do_not_change_a_length(lane):
    wire = lane.connect()
    wire.send(request("/z", "POST", ["Content-Length: 0004"], host=lane.host), b"abcd")
    answer = wire.read_response()
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert lane.backend.requests[0].body == b"abcd"


def test_hardening_4_chunks_are_strict(lane):
    sizes = ["", " 5", "5 ", "0x5", "-5", "+5", "5g", "g", "5,", "\t5", "5\t",
             "10000000000000000", "fffffffffffffffff", "ffffffffffffffff0005",
             "0" * 40 + "5g"]
    rows = [(f"size {size!r}", CHUNKED + size + "\r\nabcde\r\n0\r\n\r\n") for size in sizes]
    rows += [
        ("bare LF after the size", CHUNKED + "5\nabcde\r\n0\r\n\r\n"),
        ("bare CR after the size", CHUNKED + "5\rabcde\r\n0\r\n\r\n"),
        ("CR CR LF after the size", CHUNKED + "5\r\r\nabcde\r\n0\r\n\r\n"),
        ("bare LF after the data", CHUNKED + "5\r\nabcde\n0\r\n\r\n"),
        ("nothing after the data", CHUNKED + "5\r\nabcde0\r\n\r\n"),
        ("data longer than its size", CHUNKED + "5\r\nabcdefg\r\n0\r\n\r\n"),
        ("extension without a name", CHUNKED + "5;\r\nabcde\r\n0\r\n\r\n"),
        ("extension with a control", CHUNKED + "5;a=\x01\r\nabcde\r\n0\r\n\r\n"),
        ("extension with NUL", CHUNKED + "5;a\x00b\r\nabcde\r\n0\r\n\r\n"),
        ("extension with a bare LF", CHUNKED + "5;a\n6\r\nabcde\r\n0\r\n\r\n"),
        ("extension with a bare CR", CHUNKED + "5;a\rb\r\nabcde\r\n0\r\n\r\n"),
        ("extension with an open quote", CHUNKED + "5;a=\"b\r\nabcde\r\n0\r\n\r\n"),
        ("long extension", CHUNKED + "5;a=" + "b" * 100_000 + "\r\nabcde\r\n0\r\n\r\n"),
        ("many extensions", CHUNKED + ("1;" + "e" * 100 + "\r\nx\r\n") * 1000 + "0\r\n\r\n"),
        ("bare LF after the last chunk", CHUNKED + "0\n\r\n"),
        ("bare LF as the end", CHUNKED + "0\r\n\n"),
        ("trailer without a colon", CHUNKED + "0\r\nnothing\r\n\r\n"),
        ("folded trailer", CHUNKED + "0\r\nX-A: b\r\n c\r\n\r\n"),
        ("trailer with NUL", CHUNKED + "0\r\nX-A: \x00\r\n\r\n"),
        ("trailer with a bare LF", CHUNKED + "0\r\nX-A: b\nX-C: d\r\n\r\n"),
        ("long trailer", CHUNKED + "0\r\n" + "X-A: " + "b" * 100_000 + "\r\n\r\n", (400, 431)),
    ]
    refuse_all(lane, rows)


def test_hardening_5_framing_is_made_anew_and_extensions_are_dropped(lane):
    wire = lane.connect()
    wire.send(request("/r", "POST", ["Transfer-Encoding: chunked"], host=lane.host),
              b"00005;a=b;c=\"d e\"\r\nhello\r\n", b"A;x\r\n0123456789\r\n", b"000;last\r\n\r\n")
    assert wire.read_response().status == 200
    record = bytes(lane.backend.connections[0].record)
    assert lane.backend.requests[0].body == b"hello0123456789"
    for trace in (b";", b"00005", b"last", b"d e"):
        assert trace not in record.partition(b"\r\n\r\n")[2], trace


def test_hardening_6_malformed_heads_are_refused(lane):
    refuse_all(lane, [
        ("folded field", GET + "X-A: b\r\n c\r\n\r\n"),
        ("folded field by tab", GET + "X-A: b\r\n\tc\r\n\r\n"),
        ("folded first field", "GET /g HTTP/1.1\r\n Host: {host}\r\n\r\n"),
        ("bare LF ends the request line", "GET /g HTTP/1.1\nHost: {host}\r\n\r\n"),
        ("bare LF ends a field", GET + "X-A: b\nX-C: d\r\n\r\n"),
        ("bare LF ends the head", GET + "X-A: b\r\n\n"),
        ("two bare LF", "GET /g HTTP/1.1\nHost: {host}\n\n"),
        ("bare CR in a field", GET + "X-A: b\rX-C: d\r\n\r\n"),
        ("bare CR ends the head", GET + "X-A: b\r\n\r"),
        ("CR CR LF", GET + "X-A: b\r\r\n\r\n"),
        ("NUL in a value", GET + "X-A: b\x00c\r\n\r\n"),
        ("NUL in a name", GET + "X\x00A: b\r\n\r\n"),
        ("control in a value", GET + "X-A: b\x01c\r\n\r\n"),
        ("escape in a value", GET + "X-A: \x1b[31m\r\n\r\n"),
        ("DEL in a value", GET + "X-A: b\x7f\r\n\r\n"),
        ("space before the colon", GET + "X-A : b\r\n\r\n"),
        ("tab before the colon", GET + "X-A\t: b\r\n\r\n"),
        ("space before the colon of a length", POST + "Content-Length : 4\r\n\r\nabcd"),
        ("empty name", GET + ": b\r\n\r\n"),
        ("no colon", GET + "X-A\r\n\r\n"),
        ("space in a name", GET + "X A: b\r\n\r\n"),
        ("slash in a name", GET + "X/A: b\r\n\r\n"),
        ("high byte in a name", GET + "X\xe9: b\r\n\r\n"),
        ("NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("space in the target", "GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("tab for the space", "GET\t/g\tHTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("two spaces", "GET  /g HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("fragment in the target", "GET /g#x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("target without a slash", "GET g HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("no target", "GET HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("malformed method", "GE(T /g HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        ("HTTP/0.9", "GET /g\r\n\r\n", (400, 505)),
        ("HTTP/2.0", "GET /g HTTP/2.0\r\nHost: {host}\r\n\r\n", (400, 505)),
        ("HTTP/1.2", "GET /g HTTP/1.2\r\nHost: {host}\r\n\r\n", (400, 505)),
        ("HTTP/01.1", "GET /g HTTP/01.1\r\nHost: {host}\r\n\r\n", (400, 505)),
        ("HTTP/1.10", "GET /g HTTP/1.10\r\nHost: {host}\r\n\r\n", (400, 505)),
        ("lower-case http", "GET /g http/1.1\r\nHost: {host}\r\n\r\n", (400, 505)),
    ])
    nothing_reached(lane)


def test_hardening_7_host_is_exactly_one(lane):
    line = "GET /h HTTP/1.1\r\n"
    refuse_all(lane, [
        ("none", line + "\r\n"),
        ("two, equal", line + "Host: {host}\r\nHost: {host}\r\n\r\n"),
        ("two, different", line + "Host: {host}\r\nHost: other.test\r\n\r\n"),
        ("two, odd case", line + "Host: {host}\r\nhOST: {host}\r\n\r\n"),
        ("a list", line + "Host: {host}, other.test\r\n\r\n"),
        ("userinfo", line + "Host: user@{host}\r\n\r\n"),
        ("a path", line + "Host: {host}/x\r\n\r\n"),
        ("a query", line + "Host: {host}?x\r\n\r\n"),
        ("a space", line + "Host: {host} x\r\n\r\n"),
        ("a port that is none", line + "Host: {host}:x\r\n\r\n"),
        ("a port too big", line + "Host: {host}:65536\r\n\r\n"),
        ("two ports", line + "Host: {host}:80:80\r\n\r\n"),
        ("an empty port", line + "Host: {host}:\r\n\r\n"),
        ("port 0", line + "Host: {host}:0\r\n\r\n"),
        ("a port with a leading zero", line + "Host: {host}:080\r\n\r\n"),
        ("empty", line + "Host:\r\n\r\n"),
        ("empty on HTTP/1.0", "GET /h HTTP/1.0\r\nHost:\r\n\r\n"),
        ("two on HTTP/1.0", "GET /h HTTP/1.0\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
        ("another than the absolute form on HTTP/1.0", "GET http://other.test/h HTTP/1.0\r\n"
                                                       "Host: {host}\r\n\r\n"),
        ("a list without spaces", line + "Host: {host},other.test\r\n\r\n"),
        ("a parameter", line + "Host: {host};x=y\r\n\r\n"),
        ("an escape", line + "Host: %6c{host}\r\n\r\n"),
        ("an empty label", line + "Host: a..{host}\r\n\r\n"),
        ("an empty label in front", line + "Host: .{host}\r\n\r\n"),
        ("two final dots", line + "Host: {host}..\r\n\r\n"),
        ("longer than a name can be", line + "Host: " + "a." * 130 + "{host}\r\n\r\n"),
        ("a zone", line + "Host: [fe80::1%25eth0]\r\n\r\n"),
        ("a broken IPv6 address", line + "Host: [fd00::1\r\n\r\n"),
        ("another than the absolute form", "GET http://other.test/h HTTP/1.1\r\nHost: {host}"
                                           "\r\n\r\n"),
        ("another port than the absolute form", "GET http://{host}:81/h HTTP/1.1\r\n"
                                                "Host: {host}:82\r\n\r\n"),
        ("userinfo in the absolute form", "GET http://user@{host}/h HTTP/1.1\r\nHost: {host}"
                                          "\r\n\r\n"),
        ("none beside the absolute form", "GET http://{host}/h HTTP/1.1\r\n\r\n"),
    ])
    nothing_reached(lane)


def test_hardening_7_absolute_form_that_agrees_becomes_origin_form(lane):
    wire = lane.connect()
    wire.send(request(f"http://{lane.host}/abs?q", host=lane.host))
    assert wire.read_response().status == 200
    seen = lane.backend.requests[0]
    assert (seen.target, seen.all("host")) == ("/abs?q", [lane.host])


def test_hardening_7_port_and_case_of_the_absolute_form_may_differ_where_they_mean_the_same(lane):
    wire = lane.connect()
    for target, host in ((f"http://{lane.host}:80/a", lane.host),
                         (f"HTTP://{lane.host.upper()}/a", lane.host),
                         (f"http://{lane.host}/a", f"{lane.host}:80")):
        wire.send(request(target, host=host))
        assert wire.read_response().status == 200, (target, host)
    assert {seen.target for seen in lane.backend.requests} == {"/a"}


def test_hardening_7_host_may_be_absent_on_1_0_alone(lane):
    """Then an absolute-form target says it; without one no host's route is taken."""
    for target, status in ((f"http://{lane.host}/a", 200), ("/a", 404)):
        wire = lane.connect()
        wire.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        assert wire.read_response().status == status, target
    assert [(seen.target, seen.get("host")) for seen in lane.backend.requests] == [
        ("/a", lane.host)]


def test_hardening_7_final_dot_of_a_host_makes_no_other_host(lane):
    assert lane.ask(host=lane.host + ".").status == 200
    assert lane.ask(host=lane.host + ".:80").status == 200


def test_hardening_7_https_without_tls_is_misdirected(lane):
    refuse_all(lane, [("https", "GET https://{host}/h HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                      ("odd case", "GET HTTPS://{host}/h HTTP/1.1\r\nHost: {host}\r\n\r\n")],
               statuses=(421,))
    nothing_reached(lane)


def test_hardening_8_expect_is_100_continue_or_refused(lane):
    refuse_all(lane, [
        (value, POST + f"Expect: {value}\r\nContent-Length: 4\r\n\r\nabcd", (400, 417))
        for value in ("100", "200-ok", "100-continue, x", "x", "100-continued")])
    nothing_reached(lane)


def test_hardening_8_final_answer_before_the_body_ends_both_connections(lane):
    def handler(connection):
        if connection.number > 0:
            connection.read_request()
            connection.send(response(b"second"))
            return
        connection.read_head()
        connection.send(response(b"no", status="403 Forbidden"))
        connection.wait_for_end()

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request("/e", "POST", ["Expect: 100-continue", "Content-Length: 57"],
                      host=lane.host))
    head = wire.read_head()
    if head.status == 100:  # the proxy may say so by itself
        head = wire.read_head()
    assert head.status == 403
    assert wire.read_response_body(head).body == b"no"
    # Whatever the client sends now is no request, and the upstream connection is not reused.
    answer = lane.ask("/next")
    assert (answer.status, answer.body) == (200, b"second")
    assert len(lane.backend.connections) == 2
    assert b"/next" not in bytes(lane.backend.connections[0].record)


def test_hardening_9_body_that_was_not_consumed_is_never_parsed_as_a_request(lane):
    def handler(connection):
        connection.read_head()
        connection.send(response(b"early"))
        connection.wait_for_end()

    lane.backend.handler = handler
    hidden = fill_in(lane, HIDDEN)
    wire = lane.connect()
    wire.send(request("/early", "POST", [f"Content-Length: {len(hidden) * 10_000}"],
                      host=lane.host))
    assert wire.read_response().body == b"early"
    with wire.sending([hidden] * 10_000):
        assert wire.read_until_close() == b""
    for connection in lane.backend.connections:
        assert not any(seen.target == "/hidden" for seen in
                       messages_in(bytes(connection.record))[0])
    assert len(lane.backend.connections) == 1


def test_hardening_9_refused_body_is_never_parsed_as_a_request(lane):
    """The route does not exist: nobody reads the body, which looks like a request."""
    hidden = fill_in(lane, HIDDEN)
    wire = lane.connect()
    wire.send(request("/x", "POST", body=hidden, host="no-such-host.test"))
    assert wire.read_response().status == 404
    wire.send(request("/after", host=lane.host))
    try:
        answer = wire.read_response()  # the body was consumed, and the connection lives on
        assert answer.status == 200
        assert [seen.target for seen in lane.backend.requests] == ["/after"]
    except Truncated:
        assert lane.backend.requests == []  # the body was not consumed


def test_hardening_10_connect_and_upgrade_stay_closed(lane):
    refuse_all(lane, [
        ("CONNECT", "CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n", (400, 405, 501)),
    ])
    nothing_reached(lane)
    lane.backend.handler = lambda connection: (
        connection.read_request(),
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
                        b"Connection: upgrade\r\n\r\n"),
        connection.wait_for_end())
    answer = lane.ask("/u", fields=["Connection: upgrade", "Upgrade: websocket"])
    assert answer.status != 101
    seen = lane.backend.requests[-1]
    assert seen.all("upgrade") == [] and "upgrade" not in (seen.get("connection") or "").lower()


def test_hardening_13_no_line_break_gets_into_a_field_by_the_path(lane):
    """Percent-encoded line breaks stay encoded or are refused, wherever a path is used."""
    for target in ("/a%0d%0aX-Evil:%201", "/a%0aX-Evil:%201", "/?q=%0d%0aX-Evil:%201"):
        answer = lane.ask(target)
        assert answer.status in (200, 400)
        assert answer.get("x-evil") is None
    for seen in lane.backend.requests:
        assert seen.get("x-evil") is None


def test_hardening_22_the_backend_gets_the_canonical_path(lane):
    rows = {"/a/./b/../c": "/a/c", "/%61%2Dz": "/a-z", "/a%3fb": "/a%3Fb", "/a/%2e%2e/c": "/c",
            "/a?b=/../c": "/a?b=/../c", "/%7euser/": "/~user/"}
    got = {}
    wire = lane.connect()
    for target in rows:
        assert wire.ask(target, host=lane.host).status == 200, target
        got[target] = lane.backend.requests[-1].target
    assert got == rows


def test_hardening_22_ambiguous_paths_are_refused(lane):
    """The framing is sound, so the connection may live on; but no backend sees such a path."""
    got = {}
    for path in ("/a%2Fb", "/a%2fb", "/a%5Cb", "/a\\b", "/a%00b", "/..", "/../a", "/a/../../b",
                 "/%2e%2e/a", "/a%", "/a%4", "/a%zz", "/a%0d%0ab", "/a//../b"):
        got[path] = lane.ask(path).status
    assert got == dict.fromkeys(got, 400)
    assert lane.ask("/last").status == 200
    nothing_reached(lane)


def test_pipelined_request_behind_a_good_body_is_a_request(lane):
    """The other direction of rule 9: nothing that is a request gets lost."""
    wire = lane.connect()
    asked = request("/1", "POST", ["Transfer-Encoding: chunked"], host=lane.host)
    asked += chunk(b"GET /no HTTP/1.1\r\n\r\n") + b"0\r\n\r\n"
    asked += request("/2", "POST", body=b"GET /no HTTP/1.1\r\n\r\n", host=lane.host)
    asked += request("/3", host=lane.host)
    with wire.sending([asked]):
        assert [wire.read_response().status for _ in range(3)] == [200] * 3
    assert [seen.target for seen in lane.backend.requests] == ["/1", "/2", "/3"]


def test_empty_lines_before_a_request_are_skipped(lane):
    wire = lane.connect()
    wire.send(b"\r\n" + request("/1", host=lane.host))
    assert wire.read_response().status == 200
    wire.send(b"\r\n\r\n" + request("/2", host=lane.host))
    assert wire.read_response().status == 200


def test_flood_of_empty_lines_is_refused(lane):
    wire = lane.connect()
    with wire.sending([b"\r\n" * 100_000]):
        try:
            assert wire.read_response().status in (400, 431)
        except Truncated:
            pass
    assert lane.backend.connections == []


