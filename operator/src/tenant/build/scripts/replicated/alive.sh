#!/bin/sh
# Alive: Redis answers anything at all, or its start script waits for the Sentinels. `alive.sh 26379` asks the Sentinel.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"

port=${1:-6379}
if [ "$port" = 6379 ] && [ -e "$run/waiting" ]; then
	exit 0
fi
# shellcheck disable=SC2086 # a list of arguments
reply=$("$cli" $secure_own -h "$here" -p "$port" PING 2>&1) || true
case $reply in
# It listens; with what certificate is not what decides over life.
*SSL_connect*) ;;
"" | *"Could not connect"*)
	echo "$reply" >&2
	exit 1
	;;
esac
