#!/bin/sh
# Starts the Redis of a member once it is known whom it follows. None takes the primary's role by itself: the Sentinels
# name the primary, and a member they name resumes only if no other could have been promoted in its place.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=sentinels.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/sentinels.sh"
# shellcheck source-path=SCRIPTDIR source=serve.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/serve.sh"

server=$(command -v redis-server || command -v valkey-server)

# Time for the Sentinels to promote a member that they see and this one does not: a first attempt that failed is
# repeated after twice failover-timeout.
grace=15

# The Sentinels name this member: may it resume?
may_resume() {
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of $others)
	heard=0 empty=0
	while read -r address role priority _ keys _; do
		[ -n "$address" ] || continue
		heard=$((heard + 1))
		[ "$keys" != no ] || empty=$((empty + 1))
		if [ "$role" = master ]; then
			doubt=
			say "Waits: the Sentinels name this member, but $address is a primary."
			return 1
		fi
		if [ "$priority" != 0 ]; then
			# It was in sync with this one before it ended. No failover is asked for here: one asked for beside the
			# Sentinels' own was measured to lose acknowledged writes. Who is heard no more is waited for anew.
			doubt=
			say "Waits until the Sentinels name another primary: $address can take over."
			return 1
		fi
	done <<-EOF
		$reports
	EOF
	if ! has_data; then
		if [ "$heard" -eq $((count - 1)) ] && [ "$empty" -eq "$heard" ] && [ "$answered" -eq "$count" ]; then
			say "Starts as the primary of a tenant without data."
			return 0
		fi
		say "Waits: the Sentinels name this member, which has no data. Members heard: $((heard + 1)) of $count, \
others without data: $empty. If none can take over, choose one that has its data: CONFIG SET replica-priority 100."
		return 1
	fi
	if [ "$heard" -eq $((count - 1)) ] && [ "$answered" -eq "$count" ] && [ "$agreed" = "$me" ]; then
		say "Resumes as the primary: no other member can take over."
		return 0
	fi
	if doubts "$heard $answered $agreed"; then
		say "Waits up to $grace s before it resumes as the primary: Redis of $((heard + 1)) and Sentinel of $answered of \
$count members are heard."
		return 1
	fi
	say "Resumes as the primary: nobody was promoted in $grace s."
}

# Sets primary once it is clear.
decide() {
	ask_sentinels
	if [ -z "$primary" ]; then
		say "Waits until a majority of the Sentinels names the primary: $answered of $count answer, $known know one."
		return 1
	fi
	[ "$primary" = "$me" ] || return 0
	may_resume
}

guard_volume
guard_member
rm -f "$run/handed-over"
: >"$run/waiting"
bring_into_form "$data" "$config/redis.conf"
until_decided 10 300

conf=$run/redis.conf
{
	common_settings
	echo "replica-announce-ip $me"
	# No candidate for primary before it has been in sync since this start: the Sentinel's script says when.
	echo "replica-priority 0"
	if [ "$primary" != "$me" ]; then
		say "Follows $primary."
		echo "replicaof $primary 6379"
	fi
} >"$conf"
rm -f "$run/waiting"
exec "$server" "$conf"
