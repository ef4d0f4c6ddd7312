# shellcheck shell=sh
# Redis loads only the form that it is to write: where an append-only file is wished it reads no dump, and the other way round,
# and would begin empty. So what a volume holds is brought into that form before Redis starts. Read by the scripts that start
# it, not run.

# has_log FOLDER: whether there is an append-only file.
has_log() {
	for manifest in "$1"/appendonlydir/*.manifest; do
		[ ! -s "$manifest" ] || return 0
	done
	return 1
}

# wishes_log CONF
wishes_log() {
	[ "$(sed -n 's/^appendonly //p' "$1" | tail -n 1)" = yes ]
}

# last_written FOLDER: prints log, dump or none. What was left behind by a change of form is older. A replica's copy comes as a
# dump, of which its append-only file is then made.
last_written() {
	if [ ! -s "$1/dump.rdb" ]; then
		if has_log "$1"; then echo log; else echo none; fi
	elif has_log "$1" && find "$1/appendonlydir" -type f -newer "$1/dump.rdb" | grep -q .; then
		echo log
	else
		echo dump
	fi
}

# Asks the Redis that converts.
tell_converter() {
	"$converter_cli" -s "$converter_socket" "$@" 2>&1
}

# Waits until it has written all of its append-only file; fails where it cannot.
log_is_written() {
	while :; do
		case $(tell_converter INFO persistence | tr -d '\r' | tr '\n' ' ') in
		*aof_last_bgrewrite_status:err*) return 1 ;;
		*aof_rewrite_in_progress:0*aof_rewrite_scheduled:0*) has_log "$1" && return ;;
		*aof_rewrite_in_progress:*) ;;
		*) return 1 ;;
		esac
		sleep 0.1
	done
}

# convert FOLDER LOADS-LOG COMMAND...: a Redis that nobody else reaches loads what is there and writes it anew.
convert() {
	converter_folder=$1 converter_loads=$2
	converter_socket=$1/converter.sock
	shift 2
	converter_cli=$(command -v redis-cli || command -v valkey-cli)
	"$(command -v redis-server || command -v valkey-server)" --port 0 --unixsocket "$converter_socket" --unixsocketperm 700 \
		--dir "$converter_folder" --appendonly "$converter_loads" --save '' >&2 &
	converter=$!
	# The first process of a container ends at SIGTERM only if it says so.
	trap 'kill "$converter"; exit 143' TERM
	# It loads for as long as that takes.
	until [ "$(tell_converter PING)" = PONG ]; do
		kill -0 "$converter" 2>/dev/null || return 1
		sleep 0.1
	done
	converted=no
	if [ "$(tell_converter "$@")" = OK ]; then
		if [ "$1" = SAVE ] || log_is_written "$converter_folder"; then converted=yes; fi
	fi
	tell_converter SHUTDOWN NOSAVE >&2 || true
	wait "$converter" || true
	trap - TERM
	[ "$converted" = yes ]
}

# bring_into_form FOLDER CONF: ends the script where that fails; nothing is lost by it.
bring_into_form() {
	# Of a container that was killed meanwhile.
	rm -f "$1/converter.sock"
	last=$(last_written "$1")
	if wishes_log "$2"; then
		[ "$last" = dump ] || return 0
		echo "keystead: The volume holds a dump and an append-only file is wished: it is written before Redis starts." >&2
		convert "$1" no CONFIG SET appendonly yes && return 0
	else
		[ "$last" = log ] || return 0
		echo "keystead: The volume holds an append-only file and dumps are wished: one is written before Redis starts." >&2
		if convert "$1" yes SAVE; then
			rm -rf "$1/appendonlydir"
			return 0
		fi
	fi
	echo "keystead: It could not be written: Redis is not started. Is the volume full? Or set redis.persistence.appendOnly back." >&2
	exit 1
}
