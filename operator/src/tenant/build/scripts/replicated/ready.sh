#!/bin/sh
# Ready: a primary answers PONG; a replica is in sync with its primary. `ready.sh 26379` asks the Sentinel.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"

read_members
reply=$(patience=2 ask monitor "$me" "${1:-6379}" PING) || true
if [ "$reply" != PONG ]; then
	echo "PING: ${reply:-no answer}" >&2
	exit 1
fi
[ "${1:-6379}" = 6379 ] || exit 0
report=$(patience=2 report_of "$me")
case $report in
*" master "* | *" up "*) ;;
*)
	echo "not in sync: ${report:-no answer}" >&2
	exit 1
	;;
esac
