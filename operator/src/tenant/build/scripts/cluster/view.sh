# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # the scripts that read this use what it sets; lib.sh sets what it uses
# What the members of a Cluster tenant say of each other. Read by the scripts after lib.sh, not run.

manager=cluster

# Sets, beyond read_members, shard (the own one, nothing for one that is no member), mates (the addresses of its others)
# and places (the shard of each address).
read_shards() {
	read_members
	shard='' mates='' places=' '
	while read -r pod address of; do
		[ "$pod" != "$pod_name" ] || shard=$of
		places="$places$address=$of "
	done <"$config/members"
	for address in $others; do
		shard_of "$address"
		[ "$of" != "$shard" ] || mates="$mates $address"
	done
}

# Sets of to the shard of an address, or to nothing.
shard_of() {
	case $places in
	*" $1="*)
		of=${places#*" $1="}
		of=${of%% *}
		;;
	*) of='' ;;
	esac
}

# has_slot SLOT RANGES
has_slot() {
	for range in $2; do
		[ "$range" != - ] || continue
		if [ "$1" -ge "${range%-*}" ] && [ "$1" -le "${range#*-}" ]; then return 0; fi
	done
	return 1
}

# Sets counted to how many slots these ranges have.
count_slots() {
	counted=0
	for range in $1; do
		[ "$range" != - ] || continue
		counted=$((counted + ${range#*-} - ${range%-*} + 1))
	done
}

# Prints the ranges of slots that have an owner, a line each, of a view.
owned_ranges() {
	sed -n "s/^[^ ]* [^ ]* [^ ]* primary [^ ]* [^ ]* [^ ]* [^ ]* //p" | tr ' ' '\n' | grep '^[0-9]'
}

# Prints the first and the last of each row of slots that these ranges leave out.
gaps() {
	sort -n | {
		next=0
		while IFS=- read -r low high; do
			[ "$low" -le "$next" ] || echo "$next $((low - 1))"
			next=$((${high:-$low} + 1))
		done
		[ "$next" -gt 16383 ] || echo "$next 16383"
	}
}

# described [PREFIX]: turns the lines of CLUSTER NODES, or of nodes.conf, into
# who id address role health candidate primary epoch slots:
# self|other, the id, its address or `-`, primary|replica, up|doubted|failed|gone (another has its address), yes|no, the id
# of whom it follows or `-`, its configuration's epoch, and the slots it owns or `-`.
# A line is written in one piece, so that those of many members that are asked at the same time are not mixed.
described() (
	# A slot on its way stands in brackets.
	set -f
	while read -r id address flags primary _ _ epoch _ slots; do
		case ",$flags," in
		*,handshake,*) continue ;;
		*,master,*) role=primary ;;
		*,slave,*) role=replica ;;
		*) continue ;;
		esac
		who=other health=up candidate=yes owned=
		case ",$flags," in *,myself,*) who=self ;; esac
		case ",$flags," in *,nofailover,*) candidate=no ;; esac
		case ",$flags," in
		*,fail,*) health=failed ;;
		*,noaddr,*) health=gone ;;
		*",fail?,"*) health=doubted ;;
		esac
		address=${address%@*}
		address=${address%:*}
		for range in $slots; do
			case $range in
			"["*) ;;
			*) owned="$owned $range" ;;
			esac
		done
		echo "${1:+$1 }$who $id ${address:--} $role $health $candidate $primary $epoch ${owned:--}"
	done
)

# view_of MEMBER [PREFIX]: what it says of all, as above; nothing without an answer.
view_of() {
	ask cluster "$1" 6379 CLUSTER NODES | described "${2:-}"
}

# The views of these members, asked at the same time; before each line the address of who says so.
views_of() {
	for member in "$@"; do
		view_of "$member" "$member" &
	done
	wait
}
