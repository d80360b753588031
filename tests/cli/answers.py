"""What the fake daemon answers when a test does not say otherwise."""

EFFECTIVE = """version: 1
node:
  workers: 2
routes:
  - name: shop
    match: { hosts: [ shop.example.com ], path: { prefix: / } }
    proxy: { upstream: shop }
"""

STATUS = {
    "version": "0.1.0", "pid": 4242, "uptime_s": 273900, "state": "ready", "user": "sluice",
    "config": {"file": "/etc/sluice/sluice.yaml", "generation": 3,
               "loaded_at": "2026-11-24T04:00:00Z", "last_error": None},
    "io": {"engine": "io_uring", "reason": None},
    "workers": [
        {"id": 0, "cpu": 0, "connections": 12, "accepted": 1234567, "requests": 98765432,
         "upstream_connections": 7},
        {"id": 1, "cpu": 1, "connections": 9, "accepted": 1234001, "requests": 98700011,
         "upstream_connections": 5},
    ],
    "memory": {"used_bytes": 15938355, "limit_bytes": 1073741824, "level": "easy"},
    "steering": {"mode": "sk_lookup", "reason": None},
    "dataplane": {"bpffs": "/sys/fs/bpf/sluice", "available": True, "reason": None,
                  "interfaces": [{"name": "eth0", "mode": "native", "how": "bpf_link",
                                  "program_id": 31, "adopted": True}],
                  "flow_table": {"entries": 1204, "capacity": 1048576, "sweeps": 34567,
                                 "skipped": 0, "expired": 90210, "looked_s_ago": 1.2}},
    "counters": {"requests": 197465443, "responses_2xx": 190000000, "bad_requests": 17},
    "ktls": {"sends": True, "receives": True, "reason": None},
    "listeners": [
        {"name": "web", "address": ["192.0.2.10:80", "[2001:db8::10]:80"],
         "absent": ["[2001:db8::10]:80"], "protocol": "http"}],
    "access_log": {"file": "/var/log/sluice/access.log", "format": "json", "sample": 1,
                   "lines": 197465440, "bytes": 74641936320, "lines_lost": 3},
    "privileges": {"capabilities": ["cap_bpf", "cap_net_admin", "cap_net_raw", "cap_perfmon"],
                   "seccomp": True, "seccomp_reason": None, "no_new_privs": True,
                   "landlock": False, "landlock_reason": "kernel without it"},
}

DENY = {"entries": [
    {"cidr": "203.0.113.0/24", "reason": "scanner", "expires_at": "2026-11-24T05:30:00Z",
     "ttl_s": 5400, "origin": "config", "packets": 1204, "bytes": 72240},
    {"cidr": "198.51.100.7/32", "reason": None, "expires_at": None, "ttl_s": None,
     "origin": "cli", "packets": 0, "bytes": 0},
    {"cidr": "2001:db8:bad::/48", "reason": "abuse", "expires_at": "2026-12-01T04:00:00Z",
     "ttl_s": 604800, "origin": "cli", "packets": 0, "bytes": 0},
]}

ALLOW = {"entries": [
    {"cidr": "198.51.100.0/24", "reason": "office", "expires_at": None, "ttl_s": None,
     "origin": "config", "packets": 7, "bytes": 420},
]}

COUNT = {"entries": 1000003, "cli": 1000002, "config": 1, "ipv4": 1000002, "ipv6": 1,
         "packets": 1204, "bytes": 72240}

LOAD = {"load": "8a6b00112233ffee", "state": "done", "replace": True, "dry_run": True, "parts": 0,
        "entries": 1, "done": 3, "total": 3, "added": 0, "changed": 0, "removed": 2,
        "unchanged": 1, "expired": 0, "repeated": 0, "failure": None}

COUNTERS = {"reasons": [
    {"name": "pass", "meaning": "IP packet that no list names", "packets": 18234567,
     "bytes": 12884901888},
    {"name": "allow", "meaning": "source is on the allow list", "packets": 1200, "bytes": 96000},
    {"name": "deny", "meaning": "source is on the deny list", "packets": 45678, "bytes": 2740680},
]}

ROUTES = {"routes": [
    {"name": "cart", "hosts": ["shop.example.com"], "path": {"kind": "prefix", "value": "/cart"},
     "methods": ["GET", "POST"], "listeners": ["web"], "action": "proxy", "upstream": "cart",
     "requests": 125000,
     "responses": {"1xx": 0, "2xx": 124000, "3xx": 500, "4xx": 400, "5xx": 100, "none": 3},
     "bytes_in": 5242880, "bytes_out": 734003200},
    {"name": "health", "hosts": [], "path": {"kind": "exact", "value": "/healthz"}, "methods": [],
     "listeners": [], "action": "respond", "respond": {"status": 200}, "requests": 17,
     "responses": {"1xx": 0, "2xx": 17, "3xx": 0, "4xx": 0, "5xx": 0, "none": 0},
     "bytes_in": 0, "bytes_out": 51},
    {"name": "to-https", "hosts": [], "path": {"kind": "prefix", "value": "/"}, "methods": [],
     "listeners": ["plain"], "action": "redirect",
     "redirect": {"status": 308, "scheme": "https", "host": None, "path": None, "port": None},
     "requests": 2048,
     "responses": {"1xx": 0, "2xx": 0, "3xx": 2048, "4xx": 0, "5xx": 0, "none": 0},
     "bytes_in": 0, "bytes_out": 0},
]}

EXPLAINED = {
    "request": {"listener": "web", "host": "shop.example.com", "path": "/cart/3",
                "query": "?page=2"},
    "result": {"kind": "route", "name": "cart", "host": "shop.example.com",
               "path": {"kind": "prefix", "value": "/cart"}, "methods": ["GET", "POST"],
               "parameters": [], "action": "proxy", "upstream": "cart"},
    "others": [
        {"name": "to-https", "host": None, "path": {"kind": "prefix", "value": "/"}, "methods": [],
         "lost_by": "less_specific", "reason": "less specific than 'cart', by its host"},
        {"name": "beta", "host": "*.example.com", "path": {"kind": "template", "value": "/cart/{id}"},
         "methods": [], "lost_by": "header", "reason": "header 'x-beta': is not there"},
        {"name": "health", "host": None, "path": {"kind": "exact", "value": "/healthz"},
         "methods": [], "lost_by": "path", "reason": "path does not match"},
    ],
    "others_not_shown": 0, "routes_for_other_hosts": 1204, "routes_of_other_listeners": 0,
}

SERVICES = {"services": [
    {"name": "dns", "addresses": ["192.0.2.53:53/udp", "[2001:db8::53]:53/udp"], "protocol": "udp",
     "forward": "ipip", "affinity": "five-tuple", "origin": "config", "drain_ms": 30000, "deleted_in_s": None,
     "slots": 65537,
     "phases": {"clean": 43691, "split": 0, "record": 21846, "listed": 0},
     "packets": 1250000, "bytes": 98000000, "dropped": 1217,
     "drops": {"service_no_neigh": 1200, "service_too_big_drop": 17}, "health": {
         "probed": True, "up": 1, "down": 1, "fail_open": False, "fail_opens": 1}, "backends": [
        {"address": "2001:db8:1::11", "state": "up", "weight": 100, "origin": "config",
         "drain_left_s": None, "slots": 65537, "packets": 833000, "bytes": 65000000, "number": 1,
         "next_hop_state": "resolved", "next_hop": "2001:db8:1::11", "device": "eth1",
         "link_address": "02:00:00:00:01:11",
         "health": {"state": "up", "in_use": True, "for_s": None, "probed": True, "probe": "tcp",
                    "port": 53, "succeeded": 1197, "failed": 3, "not_made": 0, "against_in_row": 0,
                    "last_error": "Connection timed out", "last_error_s_ago": 4000}},
        {"address": "2001:db8:1::12", "state": "draining", "weight": 50, "origin": "cli",
         "drain_left_s": 21, "slots": 0, "packets": 417000, "bytes": 33000000, "number": 2,
         "next_hop_state": "failed", "next_hop": "2001:db8:1::12", "device": "eth1",
         "link_address": None,
         "health": {"state": "down", "in_use": False, "for_s": 75, "probed": True, "probe": "tcp",
                    "port": 53, "succeeded": 1160, "failed": 40, "not_made": 0, "against_in_row": 1,
                    "last_error": "No route to host", "last_error_s_ago": 1}},
    ]},
]}

UPSTREAMS = {"upstreams": [
    {"name": "cart", "balance": "least-requests", "connections": 4, "connections_max": 1024,
     "waiting": 0, "waiting_max": 256, "calls": 187499, "retries": 3, "retries_over_budget": 0,
     "queued": 12, "queue_overflows": 0, "queue_timeouts": 1, "endpoints": [
        {"address": "10.0.1.1:8080", "weight": 1, "state": "ok", "ejected_for_ms": None,
         "failures_in_row": 0, "active": 1, "connections": {"open": 4, "idle": 3},
         "requests": 62500, "responses_2xx": 62000, "responses_3xx": 250, "responses_4xx": 200,
         "responses_5xx": 50, "connects": 12, "connect_failures": 0, "reuses": 62488, "resets": 1,
         "protocol_errors": 0, "timeouts": 0, "ejections": 0},
        {"address": "10.0.1.2:8080", "weight": 2, "state": "ejected", "ejected_for_ms": 21500,
         "failures_in_row": 5, "active": 0, "connections": {"open": 0, "idle": 0},
         "requests": 125000, "responses_2xx": 0, "responses_3xx": 0, "responses_4xx": 0,
         "responses_5xx": 0, "connects": 0, "connect_failures": 2, "reuses": 0, "resets": 0,
         "protocol_errors": 0, "timeouts": 3, "ejections": 1},
    ]},
    {"name": "search", "balance": "round-robin", "connections": 1, "connections_max": None,
     "waiting": 0, "waiting_max": 256, "calls": 9, "retries": 0, "retries_over_budget": 0,
     "queued": 0, "queue_overflows": 0, "queue_timeouts": 0, "endpoints": [
        {"address": "unix:/run/search.sock", "weight": 1, "state": "ok", "ejected_for_ms": None,
         "failures_in_row": 0, "active": 0, "connections": {"open": 1, "idle": 1},
         "requests": 9, "responses_2xx": 9, "responses_3xx": 0, "responses_4xx": 0,
         "responses_5xx": 0, "connects": 1, "connect_failures": 0, "reuses": 8, "resets": 0,
         "protocol_errors": 0, "timeouts": 0, "ejections": 0},
    ]},
]}

EVENTS = {"instance": 1795492800123, "newest": 17, "missed": 0, "lost": 0, "events": [
    {"seq": 14, "time": "2026-11-24T04:00:00Z", "time_ms": 1795492800123, "kind": "ready",
     "level": "info", "object": None, "text": "sluiced 0.1.0, generation 1, 2 workers, io_uring"},
    {"seq": 15, "time": "2026-11-24T04:01:07Z", "time_ms": 1795492867456, "kind": "reload_refused",
     "level": "warning", "object": "/etc/sluice/sluice.yaml",
     "text": "generation 1 stays; sluice.yaml:4:3: unknown key 'x'"},
    {"seq": 16, "time": "2026-11-24T04:02:30Z", "time_ms": 1795492950001,
     "kind": "endpoint_ejected", "level": "warning", "object": "cart 10.0.1.2:8080",
     "text": "failed 5 times in a row: no requests for 30000 ms"},
    {"seq": 17, "time": "2026-11-24T04:03:00Z", "time_ms": 1795492980002,
     "kind": "endpoint_returned", "level": "info", "object": "cart 10.0.1.2:8080",
     "text": "gets requests again"},
]}

CONFIG = {"file": "/etc/sluice/sluice.yaml", "generation": 3, "loaded_at": "2026-11-24T04:00:00Z",
          "effective": EFFECTIVE}

VERSION = {"version": "0.1.0", "abi_version": 7, "kernel": "6.18.44"}

ADDED = {"cidr": "203.0.113.0/24", "reason": "scanner", "expires_at": "2026-11-24T05:00:00Z",
         "ttl_s": 3600, "origin": "cli"}

CERTIFICATES = {"certificates": [
    {"listener": "web", "subject": "shop.example.com", "issuer": "Example CA",
     "names": ["shop.example.com", "*.img.example.com"], "key": "EC P-256",
     "fingerprint": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
     "not_before": "2026-10-26T04:00:00Z", "not_after": "2027-01-24T04:00:00Z", "days_left": 61,
     "ocsp": "stapled", "file": "/etc/sluice/tls/shop.pem"},
    {"listener": "web", "subject": "old.example.com", "issuer": "Example CA",
     "names": ["old.example.com"], "key": "RSA 2048",
     "fingerprint": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
     "not_before": "2025-11-23T04:00:00Z", "not_after": "2026-11-23T04:00:00Z", "days_left": -1,
     "ocsp": "off", "file": "/etc/sluice/tls/old.pem"},
]}

ANSWERS = {
    ("GET", "/v1/version"): VERSION,
    ("GET", "/v1/status"): STATUS,
    ("GET", "/v1/deny"): DENY,
    ("GET", "/v1/allow"): ALLOW,
    ("GET", "/v1/deny/count"): COUNT,
    ("GET", "/v1/allow/count"): COUNT,
    ("POST", "/v1/deny/load"): LOAD,
    ("GET", "/v1/deny/load"): LOAD,
    ("POST", "/v1/deny/load/part"): LOAD,
    ("POST", "/v1/deny/load/commit"): LOAD,
    ("POST", "/v1/deny"): ADDED,
    ("POST", "/v1/allow"): ADDED,
    ("DELETE", "/v1/deny"): {"removed": "203.0.113.0/24"},
    ("DELETE", "/v1/allow"): {"removed": "203.0.113.0/24"},
    ("GET", "/v1/counters"): COUNTERS,
    ("GET", "/v1/routes"): ROUTES,
    ("POST", "/v1/routes/explain"): EXPLAINED,
    ("GET", "/v1/services"): SERVICES,
    ("POST", "/v1/services"): {"service": "web", "done": "added"},
    ("DELETE", "/v1/services"): {"service": "web", "done": "deleted"},
    ("POST", "/v1/backends"): {"service": "dns", "address": "2001:db8:1::12", "done": "draining"},
    ("GET", "/v1/upstreams"): UPSTREAMS,
    ("GET", "/v1/events"): EVENTS,
    ("GET", "/v1/certificates"): CERTIFICATES,
    ("POST", "/v1/certificates/reload"): {"listeners": 2},
    ("GET", "/v1/config"): CONFIG,
    ("POST", "/v1/config/reload"): {"generation": 4},
    ("POST", "/v1/config/check"): {"generation": 3},
}
