#!/bin/sh
# Runs the Redis of a member of a Cluster tenant, and beside it the keeper. Redis' own cluster elects the primaries; this
# only sees to it that no member comes back too early: one that was a primary waits for its successor, and one whose volume
# is new until the others know that the former one is gone.
set -eu
# shellcheck source-path=SCRIPTDIR/../replicated source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=view.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/view.sh"
# shellcheck source-path=SCRIPTDIR/../replicated source=reload.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/reload.sh"
# shellcheck source-path=SCRIPTDIR source=keeper.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/keeper.sh"
# shellcheck source-path=SCRIPTDIR/../replicated source=serve.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/serve.sh"

server=$(command -v redis-server || command -v valkey-server)
nodes=$data/nodes.conf

# What this member said of itself last: its id, role, epoch and slots; nothing of one without data.
read_own() {
	own_id='' own_role='' own_epoch=0 own_slots=-
	[ -s "$nodes" ] || return 0
	while read -r who id _ role _ _ _ epoch slots; do
		[ "$who" = self ] || continue
		own_id=$id own_role=$role own_epoch=$epoch own_slots=$slots
	done <<-EOF
		$(described <"$nodes")
	EOF
}

# A stranger may start at any time, but not at an address that others still take for its former self: who answers there
# with another id is no longer taken for failed, so that nobody would be promoted in its place.
may_begin() {
	informed=no orphaned=no
	while read -r asked who _ address role health _ _ _ slots; do
		[ "$who" = other ] || continue
		informed=yes
		case $address:$role:$health:$slots in
		"$me":*:up:* | "$me":*:doubted:*)
			say "Waits: $asked does not know yet that the former member at this address is gone."
			return 1
			;;
		*:primary:*:-) ;;
		"$me":primary:* | -:primary:*) orphaned=yes ;;
		esac
	done <<-EOF
		$views
	EOF
	# As long as the former one has slots its replicas ask for votes, and clients are sent here.
	grace=15
	if [ "$orphaned" = yes ] && doubts orphaned; then
		say "Waits up to $grace s until the slots of the former member at this address have another owner."
		return 1
	fi
	grace=3
	if [ "$informed" = no ] && [ -n "$others" ] && doubts uninformed; then
		say "Waits up to $grace s to hear of the others."
		return 1
	fi
	say "Starts as a stranger: it has no data."
}

# A primary: may it resume?
may_resume() {
	heard=' '
	while read -r asked who id address role _ candidate primary epoch slots; do
		shard_of "$address"
		[ "$of" = "$shard" ] || continue
		if [ "$role" = primary ] && [ "$slots" != - ] && [ "$id" != "$own_id" ] && [ "$epoch" -gt "$own_epoch" ]; then
			say "Starts: $address has become the primary in its place."
			return 0
		fi
		[ "$who" = self ] || continue
		heard="$heard$asked "
		[ "$role:$candidate:$primary" != "replica:yes:$own_id" ] || heard="$heard@$asked "
	done <<-EOF
		$views
	EOF
	missing='' heirs=''
	for mate in $mates; do
		case $heard in *" @$mate "*) heirs="$heirs $mate" ;; esac
		case $heard in *" $mate "*) ;; *) missing="$missing $mate" ;; esac
	done
	if [ -z "$missing$heirs" ]; then
		say "Resumes as the primary: no other member of its shard can take over."
		return 0
	fi
	grace=15
	if doubts "$heirs:$missing"; then
		say "Waits up to $grace s before it resumes as the primary. Can take over:${heirs:- none}; not heard:${missing:- none}."
		return 1
	fi
	say "Resumes as the primary: nobody was promoted in $grace s."
}

decide() {
	# shellcheck disable=SC2086 # a list of addresses
	views=$(views_of $others)
	if [ -z "$own_id" ]; then
		may_begin
		return
	fi
	case $own_role:$own_slots in
	primary:-) ;;
	primary:*) may_resume ;;
	esac
}

guard_volume
guard_member
: >"$run/waiting"
bring_into_form "$data" "$config/redis.conf"
read_shards
if has_data; then
	if [ ! -s "$nodes" ]; then
		note "There is data, but no $nodes that says whose: nothing is started."
		exit 1
	fi
	with_present_addresses "$nodes" "$data/members" : >"$nodes.new"
	mv "$nodes.new" "$nodes"
else
	# Without its data it is another: as a primary it would empty its replicas.
	rm -f "$nodes"
fi
remember_members "$data/members"
read_own
until_decided 20 150

conf=$run/redis.conf
{
	common_settings
	echo "cluster-enabled yes"
	echo "cluster-config-file $nodes"
	echo "cluster-announce-ip $me"
	echo "replica-announce-ip $me"
	announced_port
	echo "cluster-announce-bus-port 16379"
	# No candidate for primary before it has been in sync since this start: the keeper says when.
	echo "cluster-replica-no-failover yes"
} >"$conf"
rm -f "$run/waiting"

keep &
run_beside "$!" "$server" "$conf"
