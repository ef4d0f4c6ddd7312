#!/bin/sh
# Alive: Redis answers anything at all. One that loads its data or runs a long script must not be killed for it.
set -eu

cli=$(command -v redis-cli || command -v valkey-cli)
reply=$("$cli" -h 127.0.0.1 -p 6379 PING 2>&1) || true
case $reply in
"" | *"Could not connect"*)
	echo "$reply" >&2
	exit 1
	;;
esac
