#!/bin/sh
# Runs a reader: a Redis that follows a member which is a replica itself. The primary so never counts it for WAIT or
# min-replicas-to-write: a reader is never promoted, so what only it has would be lost.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=sentinels.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/sentinels.sh"
# shellcheck source-path=SCRIPTDIR source=reload.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/reload.sh"
# shellcheck source-path=SCRIPTDIR source=serve.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/serve.sh"

server=$(command -v redis-server || command -v valkey-server)

# Sets source to one of the replicas in sync, another for each ordinal; fails when there is none.
choose_source() {
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of $all)
	in_sync='' found=0
	while read -r address role _ link _; do
		[ "$role:$link" = slave:up ] || continue
		in_sync="$in_sync $address "
		found=$((found + 1))
	done <<-EOF
		$reports
	EOF
	[ "$found" -gt 0 ] || return 1
	skip=$((${pod_name##*-} % found))
	for source in $all; do
		case $in_sync in
		*" $source "*) ;;
		*) continue ;;
		esac
		[ "$skip" -gt 0 ] || return 0
		skip=$((skip - 1))
	done
}

# Each second, as a source that has become the primary counts this reader until it has left.
watch() {
	set +e
	while :; do
		sleep 1
		reload set_redis
		set_live
		set_certificate
		case $(report_of "$source") in
		*" slave "*" up "*) continue ;;
		esac
		before=$source
		if choose_source && tell 6379 REPLICAOF "$source" 6379; then
			note "Follows $source."
		else
			source=$before
			say "Waits: $before is no replica in sync, and no other member is."
		fi
	done
}

guard_volume
read_members
# The first process of a container ends at SIGTERM only if it says so.
trap 'exit 143' TERM
: >"$run/waiting"
until choose_source; do
	say "Waits until a member is a replica in sync."
	sleep 0.5
done
note "Follows $source."
conf=$run/redis.conf
{
	common_settings
	# What it lacks it fetches from a member.
	echo "appendonly no"
	echo 'save ""'
	echo "replica-priority 0"
	# While its source is being promoted the Sentinels may see it, and remember what they saw for ever. No host has this
	# address (RFC 5737), so nothing comes of it; its own might be a member's one day.
	echo "replica-announce-ip 192.0.2.1"
	echo "replicaof $source 6379"
} >"$conf"
rm -f "$run/waiting"

watch &
run_beside "$!" "$server" "$conf"
