# shellcheck shell=sh
# shellcheck disable=SC2154 # set by lib.sh and view.sh
# The keeper, read by node.sh: joins a stranger to the others, has it follow the primary of its shard, says when it is a
# candidate for primary, forgets who is gone, and makes new users, passwords, settings and certificates known.

# Whether the line of a view that has been read is that of a primary with slots, another member of its shard.
serves_shard() {
	case "$role:$health:$slots" in
	primary:up:-) return 1 ;;
	primary:up:*) ;;
	*) return 1 ;;
	esac
	case "$mates " in
	*" $address "*) ;;
	*) return 1 ;;
	esac
}

# Sets what the own Redis says: own_id, own_role, own_candidate, own_primary (whom it follows) and own_slots, known (how many
# others), owned (how many slots have an owner), and of the primary of its shard, if that is another one, chief (its id) and
# chief_address.
read_view() {
	own_id='' own_role='' own_candidate='' own_primary='' own_slots='' known=0 owned=0 chief='' chief_address=''
	while read -r who id address role health candidate primary _ slots; do
		if [ "$role" = primary ]; then
			count_slots "$slots"
			owned=$((owned + counted))
		fi
		if [ "$who" = self ]; then
			own_id=$id own_role=$role own_candidate=$candidate own_primary=$primary own_slots=$slots
			continue
		fi
		known=$((known + 1))
		if serves_shard; then chief=$id chief_address=$address; fi
	done <<-EOF
		$view
	EOF
}

# Only who has been in sync since its start, and since it was a primary last, is a candidate: what it has is then a part of
# what the primary has, also while its link is down.
candidacy() {
	tell 6379 CONFIG SET cluster-replica-no-failover "$1" || return 0
	[ "$1" = yes ] || note "In sync: a candidate for primary."
}

# A stranger is met by one of those who know a primary of its shard. Where there is none the shard is to be formed, or to
# go: that is for reshape.sh.
join() {
	for member in $others; do
		met=no
		while read -r _ _ address role health _ _ _ slots; do
			if serves_shard; then met=yes; fi
		done <<-EOF
			$(view_of "$member")
		EOF
		[ "$met" = yes ] || continue
		note "Joins the others by $member."
		tell 6379 CLUSTER MEET "$member" 6379 || true
		return 0
	done
}

# Whether it follows somebody that it should not, while its shard has a primary.
follows_wrong() {
	[ "$own_primary" != "$chief" ] || return 1
	while read -r _ id address _ _ _ _ _ slots; do
		[ "$id" = "$own_primary" ] || continue
		shard_of "$address"
		[ "$slots" = - ] || [ "$of" != "$shard" ]
		return
	done <<-EOF
		$view
	EOF
}

follow() {
	note "Follows $chief_address."
	candidacy yes
	tell 6379 CLUSTER REPLICATE "$chief" && return 0
	say "Redis refuses to follow $chief_address: it has keys, or does not know it any more."
}

# Slots were on their way from the one whose place this primary has taken: Redis does not tell replicas of that. Told anew, it
# sends on for keys that have gone ahead, instead of taking them for gone; and the other end, which believes nobody else about
# a slot that it takes in, learns from whom it comes now.
take_over_moves() {
	# Also whom only the others know: a shard that has just come may not be among the mounted members yet.
	# shellcheck disable=SC2086 # a list of addresses
	for member in $({
		printf '%s\n' $others
		echo "$view" | sed -n 's/^other [^ ]* \([^ ]*\) primary up .*/\1/p'
	} | sort -u); do
		patience=1 ask cluster "$member" 6379 CLUSTER NODES |
			sed -n 's/^\([^ ]*\) [^ ]* myself,master[^ ]* [^[]*\[\(.*\)\]$/\1 \2/p' | sed 's/\] \[/ /g' |
			while read -r taker moves; do
				for move in $moves; do
					slot=${move%%-*} giver=${move##*-<-}
					case $move in
					*-"<"-*) ;;
					*) continue ;;
					esac
					# One that still leads sends on by itself.
					if ! has_slot "$slot" "$own_slots" || echo "$view" | grep -q "^[a-z]* $giver [^ ]* primary up "; then
						continue
					fi
					note "Slot $slot is on its way to $member."
					tell 6379 CLUSTER SETSLOT "$slot" MIGRATING "$taker" || continue
					for step in NODE IMPORTING; do
						patience=1 ask cluster "$member" 6379 CLUSTER SETSLOT "$slot" "$step" "$own_id"
					done >/dev/null
				done
			done
	done
}

# Slots that nobody owns as this primary sees it, while all the others say that it does: they send clients here. Seen where both
# ends of a move failed within a second.
take_back_slots() {
	# shellcheck disable=SC2086 # a list of addresses
	views=$(views_of $others)
	echo "$view" | owned_ranges | gaps | while read -r from to; do
		agree=0 differ=0
		while read -r _ _ id _ role _ _ _ _ slots; do
			[ "$role" = primary ] || continue
			for range in $slots; do
				[ "$range" != - ] || continue
				low=${range%-*} high=${range#*-}
				if [ "$id" != "$own_id" ]; then
					if [ "$low" -le "$to" ] && [ "$high" -ge "$from" ]; then differ=$((differ + 1)); fi
				elif [ "$low" -le "$from" ] && [ "$high" -ge "$to" ]; then
					agree=$((agree + 1))
				fi
			done
		done <<-EOF
			$views
		EOF
		if [ "$differ" -eq 0 ] && [ "$((agree * 2))" -gt "$known" ]; then
			note "Takes slots $from to $to back: the others send clients here for them."
			tell 6379 CLUSTER ADDSLOTSRANGE "$from" "$to" || true
		fi
	done
}

# Every member does so in the same seconds: who still knows somebody tells the others of them.
forget_gone() {
	addresses=' '
	while read -r _ _ address _ health _; do
		[ "$health" != up ] || addresses="$addresses$address "
	done <<-EOF
		$view
	EOF
	while read -r who id address _ health _ _ _ slots; do
		case $who:$health:$slots in
		other:failed:- | other:gone:-) ;;
		*) continue ;;
		esac
		[ "$id" != "$own_primary" ] || continue
		# One that is only away keeps its place.
		shard_of "$address"
		if [ -n "$of" ]; then
			case $addresses in
			*" $address "*) ;;
			*) continue ;;
			esac
		fi
		tell 6379 CLUSTER FORGET "$id" && note "Forgets $id, whose place another has, or nobody."
	done <<-EOF
		$view
	EOF
}

# How often a new primary still looks for slots that were on their way: the others may not answer at once.
looks=0

# Sets pause: the seconds until the next look.
look() {
	pause=0.5
	view=$(view_of "$me")
	if [ -z "$view" ] && [ -e "$run/before/cluster" ]; then
		# shellcheck disable=SC2030,SC2034 # lib.sh uses it
		view=$(logins=$run/before && view_of "$me")
	fi
	# Redis may still be loading.
	[ -n "$view" ] || return 0
	reload set_redis || say "Users and passwords could not be made known yet."
	set_live
	set_certificate
	read_shards
	was=$own_role
	read_view
	[ "$was:$own_role" != replica:primary ] || looks=10
	if [ "$own_role" = primary ] && [ "$looks" -gt 0 ]; then
		looks=$((looks - 1))
		take_over_moves
	fi
	report=$(report_of "$me")
	read -r _ _ _ link _ _ disk <<-EOF
		$report
	EOF
	case $own_role:$link:$disk:$own_candidate in
	primary:*:yes) candidacy yes ;;
	replica:up:same:no) candidacy no ;;
	esac
	if [ "$own_role:$own_slots" = primary:- ]; then
		if [ "$known" -eq 0 ]; then
			join
		elif [ -n "$chief" ]; then
			follow
		fi
		return 0
	fi
	if [ "$own_role" = replica ] && [ -n "$chief" ] && follows_wrong; then
		follow
		return 0
	fi
	if [ "$own_role" = primary ] && [ "$owned" -lt 16384 ]; then take_back_slots; fi
	forget_gone
	pause=1
}

keep() {
	set +e
	own_role=''
	while :; do
		look
		sleep "$pause"
	done
}
