"""Receives webhooks on loopback, and verifies them by Python's own means.

Arguments: the secret; then, for TLS, the files of its certificate and its key. It writes its port, and then each request as a
line of JSON. What it answers the path says: /status/<n>, /once/<n> (then 200), /hang, /large, and 200 for any other.
"""

import base64
import hashlib
import hmac
import json
import ssl
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(sys.argv[1].removeprefix("whsec_"))
seen = set()
never = threading.Event()


def is_genuine(headers, body):
    """As https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md says."""
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        return False
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split(" "))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def receive(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = {
            "method": self.command,
            "path": self.path,
            "headers": headers,
            "body": body.decode(),
            "genuine": is_genuine(headers, body),
        }
        print(json.dumps(request), flush=True)
        url = urllib.parse.urlsplit(self.path)
        status, text = 200, b"thanks"
        match url.path.split("/")[1:]:
            case ["hang"]:
                never.wait()
            case ["large"]:
                text = b"x" * 100_000
            case ["once", number] if url.path not in seen:
                seen.add(url.path)
                status, text = int(number), b"not yet"
            case ["status", number]:
                status, text = int(number), b"no"
        self.send_response(status)
        for name, value in urllib.parse.parse_qsl(url.query):
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET = receive

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
