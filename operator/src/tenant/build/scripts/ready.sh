#!/bin/sh
# Ready: Redis answers PONG, so it has its data loaded.
set -eu
# shellcheck source-path=SCRIPTDIR source=tls.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/tls.sh"

REDISCLI_AUTH=$(cat /etc/keystead/monitor/password)
export REDISCLI_AUTH
cli=$(command -v redis-cli || command -v valkey-cli)

ask() {
	# shellcheck disable=SC2086 # a list of arguments
	"$cli" $secure_own -h 127.0.0.1 -p 6379 --user monitor PING 2>&1 || true
}

# It is asked as soon as its container runs, and the next time seconds later: so it is waited for, for some two seconds.
reply=$(ask)
tries=40
while [ "$reply" != PONG ] && [ "$tries" -gt 0 ]; do
	sleep 0.05
	tries=$((tries - 1))
	reply=$(ask)
done
if [ "$reply" != PONG ]; then
	echo "$reply" >&2
	exit 1
fi
