#!/bin/sh
# Before a Sentinel is ended: its voice is needed until the Redis beside it has handed over, or is gone.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"

tries=0
while [ ! -e "$run/handed-over" ] && [ "$tries" -lt 100 ]; do
	tries=$((tries + 1))
	# shellcheck disable=SC2086 # a list of arguments
	case $(timeout 1 "$cli" $secure_own -h "$here" -p 6379 PING 2>&1) in
	*SSL_connect*) ;;
	*"Could not connect"*) exit 0 ;;
	esac
	sleep 0.3
done
