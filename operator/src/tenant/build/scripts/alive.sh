#!/bin/sh
# Alive: Redis answers anything at all, or what the volume holds is being brought into another form. One that loads its data or
# runs a long script must not be killed for it.
set -eu
# shellcheck source-path=SCRIPTDIR source=tls.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/tls.sh"

[ ! -S /data/converter.sock ] || exit 0
cli=$(command -v redis-cli || command -v valkey-cli)
# shellcheck disable=SC2086 # a list of arguments
reply=$("$cli" $secure_own -h 127.0.0.1 -p 6379 PING 2>&1) || true
case $reply in
# It listens; with what certificate is not what decides over life.
*SSL_connect*) ;;
"" | *"Could not connect"*)
	echo "$reply" >&2
	exit 1
	;;
esac
