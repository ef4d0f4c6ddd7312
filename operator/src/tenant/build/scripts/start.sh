#!/bin/sh
# Starts Redis on the tenant's own volume, and on no other tenant's.
set -eu

owner=/data/.keystead-tenant
if [ -s "$owner" ] && [ "$(cat "$owner")" != "$KEYSTEAD_TENANT" ]; then
	echo "The volume belongs to tenant $(cat "$owner"), not to $KEYSTEAD_TENANT: Redis is not started." >&2
	exit 1
fi
[ -s "$owner" ] || printf '%s' "$KEYSTEAD_TENANT" >"$owner"

server=$(command -v redis-server || command -v valkey-server)
exec "$server" /etc/keystead/redis/redis.conf
