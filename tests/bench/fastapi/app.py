"""A key-value service as a Python team would write it: FastAPI, redis-py and PyJWT. For comparison only."""

import os

import jwt
import redis.asyncio as redis
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import ORJSONResponse

app = FastAPI(default_response_class=ORJSONResponse)
store = redis.Redis(port=int(os.environ["BENCH_REDIS_PORT"]), max_connections=64)
# As the gateway's HS256 secret, which is base64.
secret = __import__("base64").b64decode(os.environ["BENCH_SECRET"])


def tenant(authorization: str) -> str:
    try:
        claims = jwt.decode(authorization.removeprefix("Bearer "), secret, algorithms=["HS256"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(401) from error
    return claims["tenant"]


@app.get("/api/v1/kv/{key}")
async def read(key: str, authorization: str = Header()):
    tenant(authorization)
    value = await store.get(f"plain:{key.removeprefix('key-')}")
    if value is None:
        raise HTTPException(404)
    return {"key": key, "value": value.decode()}


@app.put("/api/v1/kv/{key}")
async def write(key: str, request: Request, authorization: str = Header()):
    tenant(authorization)
    body = await request.json()
    await store.set(f"plain:{key.removeprefix('key-')}", body["value"])
    return {"key": key, "value": body["value"]}
