#!/bin/sh
# Before Redis is ended: a primary hands over to a replica that has all it has, so that no write is lost and few wait.
# Whatever cannot be done is left to the Sentinels; it never fails.
set -eu
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=sentinels.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/sentinels.sh"

log_as_container
asked_often=''

ends() {
	# The Sentinel beside it is ended only then.
	: >"$run/handed-over"
	[ -z "$asked_often" ] || look_each 1000 || true
}
trap ends EXIT

seconds() { date +%s; }

# Hundredths of a second since some time.
hundredths() (
	read -r now _ </proc/uptime
	echo "${now%.*}${now#*.}"
)

# The replicas that the Sentinel of this member would choose from, as it knew them when it last heard of each.
candidates_of() (
	answer=$(ask monitor "$1" 26379 SENTINEL REPLICAS "$primary_name") || exit 0
	ip='' flags=''
	while read -r field && read -r value; do
		case $field in
		ip) ip=$value ;;
		flags) flags=$value ;;
		slave-priority) [ "$flags" != slave ] || [ "$value" = 0 ] || echo "$ip" ;;
		esac
	done <<-EOF
		$answer
	EOF
)

# Whether the Sentinel of this member takes us for a primary that is up, without a failover of its own.
sees_us_up() (
	answer=$(ask monitor "$1" 26379 SENTINEL MASTER "$primary_name") || exit 1
	ip='' flags=''
	while read -r field && read -r value; do
		case $field in
		ip) ip=$value ;;
		flags) flags=$value ;;
		esac
	done <<-EOF
		$answer
	EOF
	[ "$ip:$flags" = "$me:master" ]
)

# Whether each candidate is in sync and, with an argument, has all that this member has.
candidates_are_good() {
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of "$me" $candidates)
	written=''
	while read -r address _ _ _ _ offset _; do
		[ "$address" != "$me" ] || written=$offset
	done <<-EOF
		$reports
	EOF
	[ -n "$written" ] || return 1
	offsets=${1:-any}
	good=0
	while read -r address role _ link _ offset _; do
		[ "$address" != "$me" ] || continue
		[ "$role:$link" = slave:up ] || return 1
		[ "$offsets" = any ] || [ "$offset" = "$written" ] || return 1
		good=$((good + 1))
	done <<-EOF
		$reports
	EOF
	# shellcheck disable=SC2086 # a list of addresses
	set -- $candidates
	[ "$good" -eq "$#" ]
}

# Those that it may hear of before it chooses, too. Whom it knew stays one of them, also while nothing is heard.
candidates_by_now() {
	# shellcheck disable=SC2086 # a list of addresses
	{
		printf '%s\n' $candidates
		candidates_of "$sentinel"
		reports_of $others | while read -r address role priority link _; do
			case $role:$link:$priority in
			slave:up:0) ;;
			slave:up:*) echo "$address" ;;
			esac
		done
	} | sort -u
}

# Sets sentinel to the first of the other members whose candidates are good, and candidates to these.
choose_sentinel() {
	for sentinel in $others; do
		case " $refused " in
		*" $sentinel "*) continue ;;
		esac
		sees_us_up "$sentinel" || continue
		candidates=$(candidates_of "$sentinel")
		[ -n "$candidates" ] || continue
		! candidates_are_good || return 0
	done
	return 1
}

# How many milliseconds ago the Sentinel heard of the candidates, into youngest and oldest.
hear_of_candidates() {
	youngest='' oldest=''
	answer=$(ask monitor "$sentinel" 26379 SENTINEL REPLICAS "$primary_name") || return 1
	while read -r field && read -r value; do
		case $field in
		ip) ip=$value ;;
		info-refresh)
			case "$nl$candidates$nl" in
			*"$nl$ip$nl"*) ;;
			*) continue ;;
			esac
			[ -n "$youngest" ] && [ "$value" -ge "$youngest" ] || youngest=$value
			[ -n "$oldest" ] && [ "$value" -le "$oldest" ] || oldest=$value
			;;
		esac
	done <<-EOF
		$answer
	EOF
	[ -n "$youngest" ]
}

look_each() {
	ask sentinel "$sentinel" 26379 SENTINEL DEBUG INFO-PERIOD "$1" >/dev/null
}

# A Sentinel goes on with a failover when it hears from the promoted replica that it is a primary, and in a failover it asks
# only once a second; it promotes 0.3 s after it is told to, and of equals the one that it heard of last. So it is made to
# ask all at once, and told when it is soon to ask again: writes wait for half as long. Whatever is not so only takes longer.
await_question() {
	rounds=0
	while [ "$rounds" -lt 3 ]; do
		rounds=$((rounds + 1))
		looks=0
		asked_often=yes
		look_each 100 || return 0
		until hear_of_candidates && [ "$oldest" -lt 250 ] || [ "$looks" -ge 20 ]; do
			looks=$((looks + 1))
			sleep 0.02
		done
		# As the keeper has it.
		look_each 1000 || return 0
		asked_often=''
		until ! hear_of_candidates || [ "$oldest" -ge 550 ] || [ "$looks" -ge 40 ]; do
			looks=$((looks + 1))
			sleep 0.02
		done
		if [ -n "$youngest" ] && [ "$youngest" -ge 450 ] && [ "$oldest" -le 750 ]; then return 0; fi
	done
}

replica_in_sync() {
	case $(patience=1 ask monitor "$me" 6379 INFO replication) in
	*state=online*) ;;
	*) return 1 ;;
	esac
}

# The member that says it is a primary, into successor.
find_successor() {
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of $others)
	successor=
	while read -r address role _; do
		# Of those that could be promoted: another may still take itself for what it was.
		case "$nl$candidates$nl" in
		*"$nl$address$nl"*) [ "$role" != master ] || successor=$address ;;
		esac
	done <<-EOF
		$reports
	EOF
	[ -n "$successor" ]
}

# Whether each candidate says that it is a replica.
all_follow() {
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(patience=1 reports_of $candidates)
	for candidate in $candidates; do
		case "$nl$reports" in
		*"$nl$candidate slave "*) ;;
		*) return 1 ;;
		esac
	done
}

guard_member
refused=
until=$(($(seconds) + 5))
while :; do
	report=$(patience=1 report_of "$me")
	case $report in
	"$me master "*) break ;;
	# A busy one is silent for a moment.
	"") [ "$(seconds)" -lt "$until" ] || exit 0 ;;
	*) exit 0 ;;
	esac
	sleep 0.1
done

# A Sentinel hears only now and then from a replica that it has become a candidate.
until=$(($(seconds) + 12))
until choose_sentinel; do
	if ! replica_in_sync; then
		note "No replica is in sync: Redis ends without a hand-over."
		exit 0
	fi
	if [ "$(seconds)" -ge "$until" ]; then
		note "No Sentinel sees a replica in sync: Redis ends without a hand-over."
		exit 0
	fi
	sleep 0.1
done

# Sets answer to what the one Sentinel said that was asked for a failover; fails if none could be asked. A pause also
# stops the Sentinels' own link to this Redis, for which they take it for down after a second: it is kept below that, so
# that no failover of theirs begins beside ours. Two at a time were measured to lose writes.
fail_over() {
	await_question
	candidates=$(candidates_by_now)
	[ -n "$candidates" ] || return 1
	began=$(hundredths)
	tell 6379 CLIENT PAUSE 20000 WRITE || return 1
	while [ $(($(hundredths) - began)) -lt 80 ]; do
		if candidates_are_good all; then
			answer=$(patience=2 ask sentinel "$sentinel" 26379 SENTINEL FAILOVER "$primary_name") || answer=
			case $answer in
			# Without an answer it may have begun.
			OK | "" | INPROG*) return 0 ;;
			esac
			note "The Sentinel of $sentinel refuses: $answer"
			refused="$refused $sentinel"
			break
		fi
		sleep 0.02
	done
	# The Sentinels may have begun a failover of their own: what this one would take beside it would be lost. Who does not say that
	# it is a replica may have been promoted.
	all_follow || return 0
	tell 6379 CLIENT UNPAUSE || true
	return 1
}

note "Hands over."
tries=1
until fail_over; do
	if [ "$tries" -ge 3 ] || ! replica_in_sync || ! choose_sentinel; then
		note "No replica caught up in time: Redis ends without a hand-over."
		exit 0
	fi
	tries=$((tries + 1))
done

# From here on a failover may happen at any time, so the pause is not ended before there is a new primary: what this one
# would take now would be lost. Redis is ended in it, or it runs out.
until=$(($(seconds) + 6)) heard=$(seconds)
until find_successor; do
	[ -z "$reports" ] || heard=$(seconds)
	if [ $(($(seconds) - heard)) -ge 3 ]; then
		note "No other member answers: Redis ends while writes are paused."
		exit 0
	fi
	if [ "$(seconds)" -ge "$until" ]; then
		note "No replica was promoted: Redis ends while writes are paused."
		exit 0
	fi
	sleep 0.02
done
if tell 6379 REPLICAOF "$successor" 6379; then
	tell 6379 CLIENT UNPAUSE || true
	# The Sentinel would tell the others a second later, and a write waits until they have it.
	for other in $others; do
		case "$nl$reports" in
		*"$nl$other slave "*) ask sentinel "$other" 6379 REPLICAOF "$successor" 6379 >/dev/null || true ;;
		esac
	done
	note "Handed over to $successor."
else
	note "Handed over to $successor, but cannot follow it: Redis ends while writes are paused."
	exit 0
fi

until=$(($(seconds) + 5))
until ask_sentinels && [ "$primary" = "$successor" ]; do
	[ "$(seconds)" -lt "$until" ] || exit 0
	sleep 0.1
done
# Time for clients to have moved, and to have read the last answers.
sleep 1
