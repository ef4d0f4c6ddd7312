"""A small client for Keystead's REST API, on Python's standard library alone.

    KEYSTEAD_URL=http://127.0.0.1:8080 KEYSTEAD_API_KEY=ks_acme_… python3 examples/rest/client.py
"""

import json
import os
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid


class Problem(Exception):
    """An answer that is no success (RFC 9457)."""

    def __init__(self, document):
        super().__init__(f"{document['code']}: {document['detail']}")
        self.status, self.code = document["status"], document["code"]


class Keystead:
    """One tenant, through the credential that is given."""

    def __init__(self, url, api_key=None, token=None, attempts=5):
        self.base = url.rstrip("/") + "/api/v1"
        self.headers = {"X-API-Key": api_key} if api_key else {"Authorization": f"Bearer {token}"}
        self.attempts = attempts

    def call(self, method, path, body=None, headers=(), repeatable=True):
        """The answer's document. Where nothing was done, and where doing it twice does no harm, it is tried again."""
        data = None if body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if data else {}
        for attempt in range(1, self.attempts + 1):
            request = urllib.request.Request(
                self.base + path, data, {**self.headers, **kind, **dict(headers)}, method=method
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                problem = Problem(json.loads(error.read()))
                safe = problem.status == 429 or problem.code in ("redis_unavailable", "too_busy", "not_ready")
                if attempt == self.attempts or not (safe or (repeatable and problem.status in (503, 504))):
                    raise problem from error
                time.sleep(float(error.headers.get("Retry-After", 1)))
            except urllib.error.URLError:
                # Nobody knows whether it arrived.
                if attempt == self.attempts or not repeatable:
                    raise
                time.sleep(1)

    @staticmethod
    def _key(key):
        return "/kv/" + urllib.parse.quote(key, safe="")

    def put(self, key, value, ttl=None, tags=None):
        """Written twice it has another version, and the same value."""
        return self.call("PUT", self._key(key), {"value": value, "ttl": ttl, "tags": tags or {}})

    def get(self, key, default=None):
        try:
            return self.call("GET", self._key(key))["value"]
        except Problem as problem:
            if problem.code == "key_not_found":
                return default
            raise

    def delete(self, key):
        try:
            self.call("DELETE", self._key(key))
            return True
        except Problem as problem:
            if problem.code == "key_not_found":
                return False
            raise

    def increment(self, key, by=1):
        """Counted once, however often its answer is lost: each attempt has the same key."""
        once = {"Idempotency-Key": str(uuid.uuid4())}
        return self.call("POST", self._key(key) + "/incr", {"by": by}, once)["value"]

    def keys(self, prefix=""):
        """All keys in byte order, a part at a time."""
        query = {"prefix": prefix, "limit": 1000}
        while True:
            part = self.call("GET", "/kv?" + urllib.parse.urlencode(query))
            yield from (item["key"] for item in part["items"])
            if "next_cursor" not in part:
                return
            query["cursor"] = part["next_cursor"]

    def events(self, prefix="", last=None):
        """Changes as (event, id, document), for ever; goes on where it was when the connection breaks."""
        while True:
            headers = {**self.headers, **({"Last-Event-ID": last} if last else {})}
            path = "/watch?" + urllib.parse.urlencode({"prefix": prefix})
            try:
                with urllib.request.urlopen(urllib.request.Request(self.base + path, headers=headers)) as stream:
                    fields = {}
                    for line in (raw.decode().rstrip("\n") for raw in stream):
                        name, _, text = line.partition(": ")
                        if not line and "event" in fields:
                            last = fields["id"]
                            yield fields["event"], last, json.loads(fields["data"])
                            fields = {}
                        elif name:
                            fields[name] = text
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(1)


def main():
    store = Keystead(os.environ.get("KEYSTEAD_URL", "http://127.0.0.1:8080"), os.environ["KEYSTEAD_API_KEY"])
    print("writing")
    store.put("demo/a b", {"n": 1}, ttl=600, tags={"of": "demo"})
    print("read back:", store.get("demo/a b"), store.get("demo/nothing", "nothing"))
    print("counted:", store.increment("demo/counter", 5))
    for number in range(3):
        store.put(f"demo/{number}", number, ttl=600)
    print("keys:", list(store.keys("demo/")))
    print("deleted:", store.delete("demo/counter"), store.delete("demo/counter"))
    seen = queue.Queue()
    threading.Thread(target=lambda: [seen.put(event) for event in store.events("demo/")], daemon=True).start()
    while seen.empty():
        # What was before the feed was asked for is not in it.
        store.put("demo/watched", time.time(), ttl=600)
        time.sleep(0.1)
    event, _, document = seen.get()
    print("told of:", event, document["key"])
    print("done")


if __name__ == "__main__":
    main()
