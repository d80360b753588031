"""Notes, by HTTP/1.1 on 127.0.0.1:8001: GET /notes lists them, POST /notes adds one."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST_BYTES, MOST_NOTES = 1000, 1000
notes, lock = [], threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path != "/notes":
            self.answer(404, {"error": "no such thing"})
            return
        with lock:
            self.answer(200, {"notes": notes})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/notes" or not length.isdigit() or int(length) > MOST_BYTES:
            self.close_connection = True  # the body is not read
            self.answer(400, {"error": f"POST /notes, at most {MOST_BYTES} bytes"})
            return
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        with lock:
            notes.append(text)
            del notes[:-MOST_NOTES]
        self.answer(201, {"text": text, "came_by": self.headers.get("X-Forwarded-Proto")})

    def log_message(self, *_):
        pass  # Sluice has an access log


ThreadingHTTPServer(("127.0.0.1", 8001), Handler).serve_forever()
