# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # the scripts that read this use what it sets, and set manager and grace
# What the scripts of a member have in common, of a Replicated tenant and of a Cluster. Read by them, not run.

config=${KEYSTEAD_CONFIG:-/etc/keystead/redis}
users=${KEYSTEAD_USERS:-/etc/keystead/users}
passwords=${KEYSTEAD_PASSWORDS:-/etc/keystead/passwords}
data=${KEYSTEAD_DATA:-/data}
run=${KEYSTEAD_RUN:-/run/keystead}
# The own Redis and Sentinel are asked directly, not through the Service.
here=${KEYSTEAD_BIND:-127.0.0.1}
# shellcheck disable=SC3028 # set by the container runtime
pod_name=$HOSTNAME
cr=$(printf '\r')
nl='
'
umask 077
# shellcheck source-path=SCRIPTDIR source=../tls.sh
. "$config/tls.sh"
# shellcheck source-path=SCRIPTDIR source=../volume.sh
. "$config/volume.sh"

cli=$(command -v redis-cli || command -v valkey-cli)

# Logs what happened.
note() {
	said=$1
	echo "keystead: $1" >&2
}

# Logs what is waited for, when that changes.
said=
say() {
	[ "$1" = "$said" ] || note "$1"
}

# What a hook prints is lost: to the log of the container instead.
log_as_container() {
	log=${KEYSTEAD_LOG:-/proc/1/fd/1}
	if [ -w "$log" ]; then
		exec >>"$log" 2>&1
	fi
}

# Ends the script on the volume of another tenant.
guard_volume() {
	owner=$data/.keystead-tenant
	if [ -s "$owner" ] && [ "$(cat "$owner")" != "$KEYSTEAD_TENANT" ]; then
		note "The volume belongs to tenant $(cat "$owner"), not to $KEYSTEAD_TENANT: nothing is started."
		exit 1
	fi
	[ -s "$owner" ] || printf '%s' "$KEYSTEAD_TENANT" >"$owner"
}

# Sets all, others (addresses), count, me (own address, or `self` of one that is no member) and first (address of
# ordinal 0).
read_members() {
	all='' others='' count=0 me=self first=''
	while read -r pod address _; do
		all="$all $address"
		count=$((count + 1))
		[ -n "$first" ] || first=$address
		if [ "$pod" = "$pod_name" ]; then
			me=$address
		else
			others="$others $address"
		fi
	done <"$config/members"
}

# Ends the script of one that is no member.
guard_member() {
	read_members
	if [ "$me" = self ]; then
		note "$pod_name is not among the members: $(cat "$config/members")"
		exit 1
	fi
}

# with_present_addresses FILE MEMBERS END: a file that Redis or Sentinel rewrites, with the addresses that members have now
# where they had others when MEMBERS was written: so it is for a tenant that is made anew on its old volumes. END follows
# an address.
with_present_addresses() (
	if [ ! -s "$2" ] || cmp -s "$2" "$config/members"; then
		exec cat "$1"
	fi
	to_pods='' to_addresses=''
	while read -r pod address _; do
		grep -q "^$pod " "$config/members" || continue
		to_pods="$to_pods;s/ $(echo "$address" | sed 's/[.]/\\./g')$3/ @$pod@$3/"
	done <"$2"
	while read -r pod address _; do
		to_addresses="$to_addresses;s/ @$pod@$3/ $address$3/"
	done <"$config/members"
	exec sed "${to_pods#;}$to_addresses" "$1"
)

# Not a copy: that would be as read-only as the mounted file.
remember_members() {
	cat "$config/members" >"$1.new"
	mv -f "$1.new" "$1"
}

# Whether there is data that Redis would load, see volume.sh.
has_data() {
	if wishes_log "$config/redis.conf"; then has_log "$data"; else [ -s "$data/dump.rdb" ]; fi
}

doubt=
since=0

# Waits while something is unclear, but not for ever: a member that is gone for good keeps nobody from resuming.
doubts() {
	now=$(date +%s)
	if [ "$1" != "$doubt" ]; then
		doubt=$1
		since=$now
	fi
	[ $((now - since)) -lt "$grace" ]
}

# password USER [FOLDER]: prints it; the file may end without a newline.
password() {
	IFS= read -r secret <"${2:-$passwords}/$1" || [ -n "$secret" ]
	printf '%s' "$secret"
}

# The same as a word of a configuration file.
quoted() {
	printf '"%s"' "$(password "$1" | sed 's/["\\]/\\&/g')"
}

# ask USER ADDRESS PORT COMMAND...: prints the answer; fails when there is none in time, so that a member that hangs
# delays nobody. The password is in no command line, where other processes could read it.
ask() (
	user=$1 address=$2 port=$3
	shift 3
	[ "$address" != "$me" ] || address=$here secure=$secure_own
	REDISCLI_AUTH=$(password "$user" "${logins:-}")
	export REDISCLI_AUTH
	# shellcheck disable=SC2086 # a list of arguments
	exec timeout "${patience:-0.3}" "$cli" $secure -h "$address" -p "$port" --user "$user" "$@" 2>/dev/null
)

# tell PORT COMMAND...: a command to the own Redis or Sentinel, as the user that manages them; fails unless the answer is OK.
tell() {
	port=$1
	shift
	case $(patience=2 ask "$manager" "$me" "$port" "$@") in
	OK*) ;;
	*) return 1 ;;
	esac
}

# Prints: address role priority link keys offset disk; nothing without an answer. `link` is up when in sync, `keys` is
# yes, no or loading, `disk` is behind while the append-only file is rewritten, as after a full synchronisation.
report_of() (
	info=$(ask monitor "$1" 6379 INFO replication persistence keyspace) || exit 0
	role='' priority=0 link=down syncing=0 keys=no loading=0 disk=same own='' replicated=''
	while IFS=: read -r field value; do
		value=${value%"$cr"}
		case $field in
		role) role=$value ;;
		slave_priority) priority=$value ;;
		master_link_status) link=$value ;;
		master_sync_in_progress) syncing=$value ;;
		slave_repl_offset) replicated=$value ;;
		master_repl_offset) own=$value ;;
		loading) loading=$value ;;
		aof_rewrite_in_progress | aof_rewrite_scheduled) [ "$value" = 0 ] || disk=behind ;;
		db[0-9]*) keys=yes ;;
		esac
	done <<-EOF
		$info
	EOF
	[ -n "$role" ] || exit 0
	[ "$loading" = 0 ] || keys=loading
	[ "$syncing" = 0 ] || link=syncing
	echo "$1 $role $priority $link $keys ${replicated:-$own} $disk"
)

# The reports of these members, asked at the same time.
reports_of() {
	for member in "$@"; do
		report_of "$member" &
	done
	wait
}
