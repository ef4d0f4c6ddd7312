#!/bin/sh
# Brings the cluster from any state to KEYSTEAD_SHARDS shards: forms it, spreads the slots over shards that are new, empties
# and removes those that are to go. Run again after it was killed anywhere it goes on from there.
set -eu
# shellcheck source-path=SCRIPTDIR/../replicated source=lib.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/lib.sh"
# shellcheck source-path=SCRIPTDIR source=view.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/view.sh"
# shellcheck source-path=SCRIPTDIR source=slots.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/slots.sh"

# As PID 1 a shell ignores it otherwise. What is under way is done first: a few slots at most.
trap 'note "Ends before it is done, as it was told to."; exit 143' TERM
wanted=$KEYSTEAD_SHARDS
# How many slots are moved before it is looked whether all is still as it has to be for that.
at_once=1024
# Whom it takes: everybody, or those who hold data.
heard=all_answer
# Nobody waits for it: a member that is slow for a moment is not taken for gone.
patience=3

# await SECONDS CONDITION: until it is true; ends the script when it never is. The condition sets why.
await() {
	limit=$1 began=$(date +%s)
	shift
	until "$@"; do
		say "Waits: $why"
		if [ $(($(date +%s) - began)) -ge "$limit" ]; then
			note "Gives up: $why"
			exit 1
		fi
		sleep 0.5
	done
}

# Asks every member. Sets views, reports, selves (what each says of itself: its address, id, role, whom it follows, slots)
# and parts (the addresses of those that are to be in the cluster now: of a wanted shard, or with slots).
survey() {
	# shellcheck disable=SC2086 # a list of addresses
	views=$(views_of $all)
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of $all)
	selves=$(
		for member in $all; do
			echo "$views" |
				sed -n "s/^\($member\) self \([^ ]*\) [^ ]* \([^ ]*\) [^ ]* [^ ]* \([^ ]*\) [^ ]* /\1 \2 \3 \4 /p"
		done
	)
	parts=''
	while read -r address _ _ _ slots; do
		[ -n "$address" ] || continue
		shard_of "$address"
		if [ "$of" -lt "$wanted" ] || [ "$slots" != - ]; then parts="$parts $address"; fi
	done <<-EOF
		$selves
	EOF
}

# Sets id, role, follows and slots to what a member says of itself.
own_of() {
	id='' role='' follows='' slots=-
	while read -r address its_id its_role its_primary its_slots; do
		[ "$address" = "$1" ] || continue
		id=$its_id role=$its_role follows=$its_primary slots=$its_slots
	done <<-EOF
		$selves
	EOF
}

report_about() {
	echo "$reports" | grep "^$1 "
}

# Whether every member answers and every slot that is owned is owned by one of them.
all_answer() {
	owners_answer || return 1
	for member in $all; do
		own_of "$member"
		why="$member does not answer, or loads its data."
		[ -n "$id" ] || return 1
		case $(report_about "$member") in
		"" | *" loading "*) return 1 ;;
		esac
	done
}

# Whether every slot that is owned is owned by a member that answers.
owners_answer() {
	survey
	while read -r asked _ id _ _ _ _ _ _ slots; do
		[ "$slots" != - ] || continue
		case "$selves$nl" in
		*" $id "*) ;;
		*)
			why="for $asked the slots $slots belong to $id, which is none of the members. If its data is lost for good, choose who is to \
own them: CLUSTER FAILOVER TAKEOVER at a replica that has it."
			return 1
			;;
		esac
	done <<-EOF
		$views
	EOF
}

# Whether no member has data that is in no slot: it would be lost, or in the way.
no_stray_data() {
	all_answer || return 1
	while read -r address role _ _ keys _; do
		[ "$role:$keys" = master:yes ] || continue
		own_of "$address"
		why="$address has keys but no slots: nothing is formed over data."
		[ "$slots" != - ] || return 1
	done <<-EOF
		$reports
	EOF
}

# Gives strangers, before they meet, each an epoch of its own for what it will own. With the same one for all, Redis has them
# settle it afterwards: a primary that dies before its replica has heard of its new epoch is never replaced, as the others vote
# for nobody who names an older one. One that knows others refuses, and has one already.
give_epochs() {
	turn=0
	for member in $parts; do
		turn=$((turn + 1))
		at "$member" CLUSTER SET-CONFIG-EPOCH "$turn" || true
	done
}

# Whether all parts know each other. Who is missing is met by the hub: one with slots, or else the first.
all_joined() {
	"$heard" || return 1
	hub=''
	for member in $parts; do
		own_of "$member"
		if [ -z "$hub" ] && [ "$slots" != - ]; then hub=$member; fi
	done
	if [ -z "$hub" ]; then
		hub=$first
		give_epochs
	fi
	joined=yes
	for witness in $parts; do
		known=" $(echo "$views" | sed -n "s/^$witness [a-z]* \([^ ]*\) [^ ]* [a-z]* up .*/\1/p" | tr '\n' ' ')"
		for member in $parts; do
			own_of "$member"
			case $known in *" $id "*) continue ;; esac
			joined=no why="$witness does not know $member yet."
			if [ "$witness" = "$hub" ]; then
				at "$hub" CLUSTER MEET "$member" 6379 || true
			elif [ "$member" = "$hub" ]; then
				# Its own part of being met took too long.
				at "$witness" CLUSTER MEET "$hub" 6379 || true
			fi
		done
	done
	[ "$joined" = yes ]
}

# Sets head to the primary of a shard: the one with slots, or with most of them; else the first that is a primary. Sets
# head_id and head_slots as well.
find_head() {
	head='' head_id='' head_slots=- most=-1
	while read -r address its_id its_role _ its_slots; do
		shard_of "$address"
		[ "$of:$its_role" = "$1:primary" ] || continue
		count_slots "$its_slots"
		[ "$counted" -gt "$most" ] || continue
		head=$address head_id=$its_id head_slots=$its_slots most=$counted
	done <<-EOF
		$selves
	EOF
}

# Whether each wanted shard has a head that all its others follow and are in sync with: without them it takes no keys. The
# keepers see to it where the head has slots.
all_follow() {
	all_joined || return 1
	following=yes
	for member in $parts; do
		shard_of "$member"
		find_head "$of"
		why="no member of shard $of is a primary."
		[ -n "$head" ] || return 1
		own_of "$member"
		if [ "$member" = "$head" ] || [ "$slots" != - ] || [ "$of" -ge "$wanted" ]; then continue; fi
		if [ "$role:$follows" != "replica:$head_id" ]; then
			following=no why="$member does not follow $head yet."
			[ "$head_slots" != - ] || at "$member" CLUSTER REPLICATE "$head_id" || true
			continue
		fi
		case $(report_about "$member") in
		"$member slave "*" up "*) ;;
		*) following=no why="$member is not in sync with $head yet." ;;
		esac
	done
	[ "$following" = yes ]
}

# Whether all parts name the same owners of all slots, with the same epochs: see give_epochs.
all_agree() {
	all_joined || return 1
	agreed=''
	for member in $parts; do
		owners=$(echo "$views" | sed -n "/ -\$/d;s/^$member [^ ]* \([^ ]*\) [^ ]* primary [^ ]* [^ ]* [^ ]* /\1 /p" | sort)
		[ -n "$agreed" ] || agreed=$owners
		why="$member names other owners of slots than the others."
		[ "$owners" = "$agreed" ] || return 1
	done
	why="slots have no owner."
	[ -z "$(echo "$views" | slots_said_by "$hub" | gaps)" ]
}

# Gives the slots that nobody owns to the shards that they are meant for.
assign() {
	echo "$views" | slots_said_by "$hub" | gaps | while read -r from to; do
		shard=0
		while [ "$shard" -lt "$wanted" ]; do
			low=$((shard * 16384 / wanted)) high=$(((shard + 1) * 16384 / wanted - 1))
			[ "$low" -ge "$from" ] || low=$from
			[ "$high" -le "$to" ] || high=$to
			if [ "$low" -le "$high" ]; then
				find_head "$shard"
				note "Shard $shard ($head) gets the slots $low to $high."
				at "$head" CLUSTER ADDSLOTSRANGE "$low" "$high" || note "$head refuses the slots $low to $high."
			fi
			shard=$((shard + 1))
		done
	done
}

# Prints of each primary that has slots or should have some: its address, id, and how many it has beyond its share.
balance() {
	while read -r address id role _ slots; do
		[ "$role" = primary ] || continue
		shard_of "$address"
		shard=$of share=0
		count_slots "$slots"
		surplus=$counted
		if [ "$shard" -lt "$wanted" ]; then
			share=$(balance_share "$shard" "$address")
		fi
		echo "$address $id $((surplus - share))"
	done <<-EOF
		$selves
	EOF
}

# Prints how many slots a primary of a wanted shard should have: its head as many as assign gives it, another none.
balance_share() (
	find_head "$1"
	[ "$head" = "$2" ] || exec echo 0
	echo $((($1 + 1) * 16384 / wanted - $1 * 16384 / wanted))
)

# Sets from and to (ids) and amount to the next move; fails when every primary has its share.
next_move() {
	from='' to='' spare=0 lack=0
	while read -r _ id surplus; do
		if [ "$surplus" -gt 0 ]; then from=$id spare=$surplus; fi
		if [ "$surplus" -lt 0 ]; then to=$id lack=$((-surplus)); fi
	done <<-EOF
		$(balance)
	EOF
	amount=$spare
	[ "$lack" -ge "$amount" ] || amount=$lack
	[ "$amount" -gt 0 ]
}

# Whether some slots have an owner that says so itself, and others have none.
misses_slots() {
	claimed=0
	while read -r _ _ role _ slots; do
		[ "$role" = primary ] || continue
		count_slots "$slots"
		claimed=$((claimed + counted))
	done <<-EOF
		$selves
	EOF
	[ "$claimed" -gt 0 ] && [ "$claimed" -lt 16384 ]
}

# Goes on with a move that was broken off. Nobody else is waited for: until then what is in the slot cannot be changed.
finish_begun() {
	await 120 owners_answer
	# A primary that has lost sight of a slot takes it back within seconds: what is on its way to or from it is not seen before.
	# Where that never ends, slots were not all given out yet.
	looks=0
	while [ "$looks" -lt 10 ] && misses_slots; do
		looks=$((looks + 1))
		sleep 1
		await 120 owners_answer
	done
	find_open
	[ -n "$open" ] || return 0
	heard=owners_answer
	drop_stale_imports
	await 60 all_agree
	close_open_slots
	await 60 all_agree
	heard=all_answer
}

# Members of shards that are to go, without slots now, become strangers: the replicas first, which so never follow one that
# is gone. The others forget them in the same seconds.
remove_others() {
	for kind in replica primary; do
		for member in $all; do
			shard_of "$member"
			own_of "$member"
			if [ "$of" -lt "$wanted" ] || [ "$role" != "$kind" ]; then continue; fi
			# Others do not know it any more, nor it them.
			case $views in *" other $id "* | *"$member other "*) ;; *) continue ;; esac
			note "Removes $member from the cluster."
			if ! at "$member" CLUSTER RESET HARD; then
				note "$member refuses to be reset: ${answer:-no answer}"
				exit 1
			fi
			for part in $parts; do
				at "$part" CLUSTER FORGET "$id" || true
			done
		done
	done
}

read_shards
finish_begun
await 120 all_answer
await 15 no_stray_data
await 60 all_joined
await 90 all_follow
assign
await 60 all_agree
announced=''
while next_move; do
	[ "$announced" = "$from $to" ] || note "Moves $amount slots from $from to $to."
	announced="$from $to"
	[ "$amount" -le "$at_once" ] || amount=$at_once
	move "$amount" "$from" "$to"
	await 60 all_agree
	await 90 all_follow
done
remove_others
await 60 all_agree
note "The cluster has $wanted shards."
