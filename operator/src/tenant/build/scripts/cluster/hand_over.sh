#!/bin/sh
# Before Redis is ended: a primary hands over to a replica that is in sync, by Redis' own way: writes wait until the replica
# has them all. Whatever cannot be done is left to the others' election; it never fails.
set -eu
# shellcheck source-path=SCRIPTDIR/../replicated source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=view.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/view.sh"

log_as_container

# Sets own_id, to nothing where it is silent, and own_slots to those that it owns as a primary, or to nothing.
read_own() {
	own_id='' own_slots=''
	while read -r who id _ role _ _ _ _ slots; do
		[ "$who" = self ] || continue
		own_id=$id
		[ "$role" != primary ] || [ "$slots" = - ] || own_slots=$slots
	done <<-EOF
		$(patience=1 view_of "$me")
	EOF
}

# Sets heir to the replica of this one in sync that has most; fails when there is none.
choose_heir() {
	followers=' '
	# shellcheck disable=SC2086 # a list of addresses
	views=$(views_of $mates)
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of $mates)
	while read -r asked who _ _ role _ _ primary _; do
		[ "$who:$role:$primary" != "self:replica:$own_id" ] || followers="$followers$asked "
	done <<-EOF
		$views
	EOF
	heir='' most=-1
	while read -r address role _ link _ offset _; do
		[ "$role:$link" = slave:up ] || continue
		[ "$offset" -gt "$most" ] || continue
		case $followers in
		*" $address "*) heir=$address most=$offset ;;
		esac
	done <<-EOF
		$reports
	EOF
	[ -n "$heir" ]
}

is_replica() {
	case $(patience=1 report_of "$me") in
	*" slave "*) ;;
	*) return 1 ;;
	esac
}

guard_member
read_shards
looks=0
until
	read_own
	[ -n "$own_id" ]
do
	# A busy one is silent for a moment.
	looks=$((looks + 1))
	[ "$looks" -lt 5 ] || exit 0
	sleep 0.1
done
[ -n "$own_slots" ] || exit 0
tries=0
while [ "$tries" -lt 4 ]; do
	tries=$((tries + 1))
	if ! choose_heir; then
		say "No replica is in sync: looks again."
		sleep 0.5
		continue
	fi
	note "Hands over to $heir."
	answer=$(patience=2 ask cluster "$heir" 6379 CLUSTER FAILOVER) || answer=
	if [ "$answer" != OK ]; then
		note "$heir refuses: ${answer:-no answer}"
		sleep 0.5
		continue
	fi
	# Redis gives up after 5 s.
	looks=0
	while [ "$looks" -lt 60 ]; do
		looks=$((looks + 1))
		if is_replica; then
			note "Handed over to $heir."
			# Time for clients to have moved, and to have read the last answers.
			sleep 1
			exit 0
		fi
		sleep 0.1
	done
done
note "No replica took over: Redis ends without a hand-over."
