#!/bin/sh
# Runs the Sentinel of a member, and beside it the keeper: a loop that does for this member what neither Redis nor
# Sentinel do by themselves.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=sentinels.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/sentinels.sh"
# shellcheck source-path=SCRIPTDIR source=reload.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/reload.sh"
# shellcheck source-path=SCRIPTDIR source=keeper.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/keeper.sh"

server=$(command -v redis-server || command -v valkey-server)
conf=$data/sentinel/sentinel.conf

# What a Sentinel has learnt. All else is written anew at each start.
learnt() {
	[ -s "$conf" ] || return 0
	with_present_addresses "$conf" "$data/sentinel/members" " " | while read -r word what who rest; do
		case "$word $what $who" in
		"sentinel monitor $primary_name")
			# The address; the quorum follows from the members.
			echo "sentinel monitor $primary_name ${rest% *} $quorum"
			;;
		"sentinel known-"*" $primary_name" | "sentinel "*"-epoch $primary_name" | "sentinel current-epoch "*)
			echo "$word $what $who${rest:+ $rest}"
			;;
		esac
	done
}

write_conf() {
	# The same voter also with an empty volume: it is not counted twice.
	id=$(printf '%s' "$KEYSTEAD_TENANT/$pod_name" | sha1sum)
	kept=$(learnt)
	sentinel_port
	[ -z "${KEYSTEAD_BIND:-}" ] || echo "bind $KEYSTEAD_BIND"
	echo "protected-mode no"
	echo "daemonize no"
	echo 'logfile ""'
	echo "dir $data/sentinel"
	echo "aclfile $users/sentinel-users.acl"
	echo "sentinel myid ${id%% *}"
	echo "sentinel announce-ip $me"
	echo "sentinel resolve-hostnames no"
	echo "sentinel sentinel-user sentinel"
	echo "sentinel sentinel-pass $(quoted sentinel)"
	case $kept in
	*"sentinel monitor "*)
		echo "$kept"
		echo "$settings" | while read -r option value; do
			echo "sentinel $option $primary_name $value"
		done
		echo "sentinel auth-user $primary_name sentinel"
		echo "sentinel auth-pass $primary_name $(quoted sentinel)"
		;;
	esac
}

guard_volume
guard_member
quorum=$((count / 2 + 1))
# A primary that hangs for 1.2 s is replaced: not for a second, as a Sentinel that has just been told of another primary may wait
# that long before it connects to it, takes it for down meanwhile, and counts what others said of the one before as their
# agreement (seen: a second failover 1.1 s after the first). Members follow a new primary all at once: writes wait for them, and one
# fork of the primary serves all. failover-timeout also is how long a failover waits for a member that is away, and half of
# the pause after one that found no candidate.
settings="down-after-milliseconds 1200
failover-timeout 5000
parallel-syncs $((count - 1))"
mkdir -p "$data/sentinel"

child='' ended=''
trap 'ended=yes; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM INT
while :; do
	rm -f "$run/start-anew"
	# shellcheck disable=SC2034 # the keeper compares it with what is mounted
	started_with=$(certificates)
	write_conf >"$conf.new"
	mv "$conf.new" "$conf"
	remember_members "$data/sentinel/members"
	"$server" "$conf" --sentinel &
	child=$!
	keep &
	keeper=$!
	status=0
	[ -z "$ended" ] || kill -TERM "$child" 2>/dev/null || true
	# A signal ends the wait, not yet the Sentinel.
	while kill -0 "$child" 2>/dev/null; do
		status=0
		wait "$child" || status=$?
	done
	kill "$keeper" 2>/dev/null || true
	# The keeper has ended it, to have it read its certificate.
	[ -z "$ended" ] && [ -e "$run/start-anew" ] || exit "$status"
done
