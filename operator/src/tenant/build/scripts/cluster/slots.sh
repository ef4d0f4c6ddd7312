# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # reshape.sh sets what this uses, and uses what this sets
# Slots: counting them, moving them, and finishing moves that were begun. Read by reshape.sh, not run.

# Both ends do nothing else while they move so many: values of megabytes must not take as long as it takes until one that does
# not answer is taken for failed.
keys_at_once=10
# For as long the end that gives waits for the one that takes, and does nothing else: with Redis' own minute one that hangs would
# take the other with it, and with both away too few may be left to elect anybody. Below cluster-node-timeout, in milliseconds.
takes_within=800

# at ADDRESS COMMAND...: fails unless the answer is OK; it is in answer.
at() {
	address_told=$1
	shift
	answer=$(patience=10 ask cluster "$address_told" 6379 "$@") || return 1
	[ "$answer" = OK ]
}

# Prints the ranges of slots that are owned as this member says, a line each, of views.
slots_said_by() {
	sed -n "s/^$1 //p" | owned_ranges
}

# redis-cli's own way of moving slots. The password is in no command line.
cluster_cli() (
	REDISCLI_AUTH=$(password cluster)
	export REDISCLI_AUTH
	# shellcheck disable=SC2086 # a list of arguments
	exec "$cli" $secure --user cluster --no-auth-warning --cluster "$@" 2>&1
)

# move AMOUNT FROM TO. Of a key that is at both ends, the former owner's value counts: it answers for it until it is gone.
move() {
	if ! output=$(cluster_cli reshard "$hub:6379" --cluster-slots "$1" --cluster-from "$2" --cluster-to "$3" \
		--cluster-pipeline "$keys_at_once" --cluster-timeout "$takes_within" --cluster-replace --cluster-yes </dev/null); then
		note "Slots could not be moved: $(echo "$output" | tail -n 5)"
		exit 1
	fi
}

# Prints the slots that are open at a member: its address, the slot, `>` (leaving) or `<` (coming), and the other's id; `unknown`
# in place of a slot where it has answered before and does not now.
open_at() {
	own=$(patience=5 ask cluster "$1" 6379 CLUSTER NODES | grep myself) || own=''
	case "$own:$nl$selves" in
	":"*"$nl$1 "*) echo "$1 unknown ?" ;;
	esac
	echo "$own" | grep -o '\[[^]]*\]' |
		sed "s/^\[\([0-9]*\)-\([<>]\)-\([^]]*\)\]/$1 \1 \2 \3/"
}

# Prints the slots of which a primary has keys without owning them, with its address: the rest of a move that both ends have
# forgotten, as each failed in it. `unknown` in place of a slot: it did not answer.
strays_at() {
	own_of "$1"
	[ "$role" = primary ] || return 0
	counts=$(seq 0 16383 | sed 's/^/CLUSTER COUNTKEYSINSLOT /' | patience=60 ask cluster "$1" 6379) || true
	if [ "$(echo "$counts" | grep -c '^[0-9][0-9]*$')" -ne 16384 ]; then
		echo "$1 unknown ?"
		return 0
	fi
	echo "$counts" | grep -nv '^0$' |
		while IFS=: read -r line _; do
			find_owner "$((line - 1))"
			case $owner in
			# Of a slot that nobody owns nothing was on its way: see no_stray_data.
			"" | "$1") ;;
			*) echo "$1 $((line - 1)) ?" ;;
			esac
		done
}

# Prints the address of each primary that has keys of a slot; `unknown` for one that does not answer.
holders_of() {
	while read -r address _ role _; do
		[ "$role" = primary ] || continue
		case $(patience=5 ask cluster "$address" 6379 CLUSTER COUNTKEYSINSLOT "$1") in
		0) ;;
		[1-9]*) echo "$address" ;;
		*) echo unknown ;;
		esac
	done <<-EOF
		$selves
	EOF
}

# Sets owner to the address of who owns a slot.
find_owner() {
	owner=
	while read -r address _ role _ ranges; do
		[ "$role" = primary ] || continue
		if has_slot "$1" "$ranges"; then owner=$address; fi
	done <<-EOF
		$selves
	EOF
}

# Ends the script where one has not answered: that is not to say that it has no keys.
answers() {
	[ "$1" = unknown ] || return 0
	note "A primary does not say which keys it has: nothing is moved."
	exit 1
}

# Closes a slot whose move was broken off: goes on with it if another than its owner has keys of it already, else leaves it
# where it is. A member that failed meanwhile has forgotten its part, which it is told anew. So the owner's value of a key
# always is the last.
close_slot() {
	find_owner "$1"
	# To whom it was on its way has keys of it, if it is there at all.
	for to in $(echo "$open" | sed -n "s/^$owner $1 > //p"); do
		case "$selves$nl" in
		*" $to "*) ;;
		*) [ "$(echo "$selves" | grep -c .)" -eq "$(echo "$all" | wc -w)" ] || answers unknown ;;
		esac
	done
	target=
	for holder in $(holders_of "$1"); do
		[ "$holder" != "$owner" ] || continue
		answers "$holder"
		if [ -n "$target" ]; then
			note "Slot $1 of $owner has keys at $target and at $holder: nothing is moved. Look which are right."
			exit 1
		fi
		target=$holder
	done
	for member in $(echo "$open" | sed -n "s/^\([^ ]*\) $1 .*/\1/p"); do
		if [ "$member" != "$target" ] && { [ "$member" != "$owner" ] || [ -z "$target" ]; }; then
			at "$member" CLUSTER SETSLOT "$1" STABLE || true
		fi
	done
	[ -n "$target" ] || return 0
	note "Goes on with slot $1 from $owner to $target."
	own_of "$owner"
	owner_id=$id
	own_of "$target"
	if ! at "$target" CLUSTER SETSLOT "$1" IMPORTING "$owner_id" || ! at "$owner" CLUSTER SETSLOT "$1" MIGRATING "$id"; then
		note "Slot $1 cannot be opened: ${answer:-no answer}"
		exit 1
	fi
	if ! finish_slot "$1" "$owner" "$target" "$id"; then
		note "Slot $1 could not be closed: ${answer:-no answer}"
		exit 1
	fi
}

# finish_slot SLOT OWNER TARGET TARGET_ID: moves the rest of an open slot. Not redis-cli's fix: where both have keys it makes
# the one with more of them the owner, whose values may be the older.
finish_slot() {
	while :; do
		answer=$(patience=10 ask cluster "$2" 6379 CLUSTER COUNTKEYSINSLOT "$1") || return 1
		case $answer in
		0) break ;;
		*[!0-9]* | "") return 1 ;;
		esac
		# Names as redis-cli writes them, and reads them: in quotes, with every odd byte escaped.
		names=$(patience=10 ask cluster "$2" 6379 --no-raw CLUSTER GETKEYSINSLOT "$1" "$keys_at_once" |
			sed -n 's/^ *[0-9]*) "/"/p' | tr '\n' ' ')
		[ -n "$names" ] || continue
		# By the input, as the password is in no command line.
		answer=$(printf 'MIGRATE %s 6379 "" 0 %s REPLACE AUTH2 cluster %s KEYS %s\n' "$3" "$takes_within" "$(quoted cluster)" "$names" |
			patience=10 ask cluster "$2" 6379) || return 1
		case $answer in
		# What has expired meanwhile is no key any more.
		OK | NOKEY) ;;
		*) return 1 ;;
		esac
	done
	leads_slot "$1" "$2" "$4" || return 1
	at "$3" CLUSTER SETSLOT "$1" NODE "$4" && at "$2" CLUSTER SETSLOT "$1" NODE "$4"
}

# leads_slot SLOT OWNER TARGET_ID: whether the owner of an open slot still is it, as it says itself and most primaries say. One
# that was replaced meanwhile has no keys of it either, and what its successor has taken would be lost with the slot.
leads_slot() {
	answer="$2 leads slot $1 no more"
	patience=2 ask cluster "$2" 6379 CLUSTER NODES | grep 'myself,master' | grep -qF "[$1->-$3]" || return 1
	# shellcheck disable=SC2086 # a list of addresses
	said=$(views_of $all)
	primaries=0 agree=0
	while read -r asked who _ _ role _; do
		[ "$who:$role" = self:primary ] || continue
		primaries=$((primaries + 1))
		ranges=$(echo "$said" | sed -n "s/^$asked [a-z]* [^ ]* $2 primary [^ ]* [^ ]* [^ ]* [^ ]* //p")
		if has_slot "$1" "$ranges"; then agree=$((agree + 1)); fi
	done <<-EOF
		$said
	EOF
	[ $((agree * 2)) -gt "$primaries" ]
}

# A member that takes a slot from one that is no primary any more would never learn who owns it now: until the slot is closed
# Redis believes nobody else. What it has of the slot it keeps, and close_open_slots finds it.
drop_stale_imports() {
	for member in $all; do
		open_at "$member" | while read -r address slot way id; do
			[ "$way" = "<" ] || continue
			case "$selves" in *" $id primary "*) continue ;; esac
			note "$address takes slot $slot from one that is no primary any more: it is to learn who is."
			at "$address" CLUSTER SETSLOT "$slot" STABLE || true
		done
	done
}

# Sets open to the slots that are on their way, and to those of which another than the owner has keys.
find_open() {
	open=$(
		for member in $all; do
			open_at "$member"
			strays_at "$member"
		done
	)
}

close_open_slots() {
	find_open
	case $open in *" unknown "*) answers unknown ;; esac
	for slot in $(echo "$open" | sed -n 's/^[^ ]* \([0-9]*\) .*/\1/p' | sort -un); do
		close_slot "$slot"
	done
}
