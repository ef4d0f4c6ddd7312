"""A worker of a tenant's own: takes jobs from the queue that docs/jobs.md describes, one at a time.

KEYSTEAD_REDIS_ADDRESS=127.0.0.1:6379 python3 examples/worker-python/worker.py
"""

import json, os, pathlib, random, signal, threading, time, uuid

import redis

SCRIPTS = pathlib.Path(os.environ.get("KEYSTEAD_SCRIPTS", pathlib.Path(__file__).parent / "../../docs/queue"))
LEASE_MS, KEPT = 30_000, (7 * 24 * 3600, 10_000)
WORKERS = "jobs:{j}:workers"


def greet(payload, report):
    """What a kind returns is the job's result; an exception fails the attempt, which is tried again later."""
    for second in range(payload.get("seconds", 1)):
        report(min(99, 10 * second), f"thinking for {second} s")
        time.sleep(1)
    return {"greeting": f"Hello, {payload['name']}!"}


KINDS = {"greet": greet}


class Worker:
    def __init__(self, connection):
        self.name, self.held, self.stopping = f"python-{uuid.uuid4()}", set(), threading.Event()
        self.scripts = {name: connection.register_script((SCRIPTS / f"{name}.lua").read_bytes())
                        for name in ("fetch", "renew", "report", "finish")}

    def call(self, name, keys, *arguments):
        while True:  # each of these may be said twice
            try:
                return self.scripts[name](keys=keys, args=arguments)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                print(f"{name}: {error}", flush=True)
                time.sleep(1)

    def renew(self):
        """Says every ten seconds that it lives and which jobs it has, so that nobody else takes them."""
        while not self.stopping.wait(LEASE_MS / 3000):
            running = f"jobs:{{j}}:running:{self.name}"
            self.call("renew", [WORKERS, running], self.name, LEASE_MS, *KEPT, *tuple(self.held))

    def run(self):
        threading.Thread(target=self.renew, daemon=True).start()
        while not self.stopping.is_set():
            _, *job = self.call("fetch", [WORKERS], self.name, 1, LEASE_MS, *KEPT)
            self.work(*job) if job else self.stopping.wait(1)

    def work(self, id, kind, payload, attempt, most, claim, trace, checkpoint):
        def report(percent, message):
            if not self.call("report", [key, WORKERS], id, self.name, claim, LEASE_MS, percent, message, ""):
                raise RuntimeError("somebody else has the job")

        key, outcome, error, result = f"jobs:{{j}}:job:{id}", "succeeded", "", ""
        self.held.add(id)
        try:
            result = json.dumps(KINDS[kind](json.loads(payload), report))
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            outcome = "retry" if kind in KINDS and attempt < most else "dead"
        delay = int(1000 * 2 ** min(attempt - 1, 11) * random.uniform(1, 1.25))
        self.call("finish", [key], self.name, *KEPT, id, claim, outcome, error, result, delay)
        self.held.discard(id)
        print(id, kind, outcome, flush=True)


if __name__ == "__main__":
    host, port = os.environ["KEYSTEAD_REDIS_ADDRESS"].rsplit(":", 1)
    file, ca = os.environ.get("KEYSTEAD_REDIS_PASSWORD_FILE"), os.environ.get("KEYSTEAD_REDIS_CA_FILE")
    worker = Worker(redis.Redis(
        host, int(port), username=os.environ.get("KEYSTEAD_REDIS_USERNAME"), ssl=bool(ca), ssl_ca_certs=ca,
        password=pathlib.Path(file).read_text().strip() if file else None, decode_responses=True, socket_timeout=10))
    signal.signal(signal.SIGTERM, lambda *_: worker.stopping.set())
    worker.run()
