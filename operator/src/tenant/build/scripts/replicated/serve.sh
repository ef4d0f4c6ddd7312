# shellcheck shell=sh
# shellcheck disable=SC2154 # lib.sh sets what this uses
# How a Redis begins and ends. Read by the scripts that start one, after lib.sh, not run.

# Hundredths of a second since the machine started, into clock, without a process of its own.
read_clock() {
	read -r clock _ </proc/uptime
	clock=${clock%.*}${clock#*.}
}

# until_decided PAUSE TRIES: waits until decide succeeds, asking after so many hundredths of a second each time.
until_decided() {
	# The first process of a container ends at SIGTERM only if it says so.
	trap 'exit 143' TERM
	# Life for the probe, as long as there is no Redis to ask.
	: >"$run/waiting"
	tries=0
	read_clock
	look_began=$clock
	until decide; do
		tries=$((tries + 1))
		look_pause=$1
		# What is not there after half a minute may take hours.
		[ "$tries" -lt "$2" ] || look_pause=100
		# Where many start at once they would take all of the processors from each other: who asks for long asks less often.
		read_clock
		look_took=$((clock - look_began))
		[ $((2 * look_took)) -le "$look_pause" ] || look_pause=$((2 * look_took))
		sleep "$((look_pause / 100)).$((look_pause / 10 % 10))$((look_pause % 10))"
		read_clock
		look_began=$clock
	done
}

# Prints the lines of its configuration that all have in common, behind those that are mounted.
common_settings() {
	echo "include $config/redis.conf"
	echo "aclfile $users/users.acl"
	echo "dir $data"
	[ -z "${KEYSTEAD_BIND:-}" ] || echo "bind $KEYSTEAD_BIND"
	echo "masteruser replication"
	echo "masterauth $(quoted replication)"
}

# run_beside PID COMMAND...: runs it, and ends with it: first the process that runs beside it, then the script.
run_beside() {
	beside=$1
	shift
	"$@" &
	child=$!
	trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT
	status=0
	# A signal ends the wait, not yet Redis.
	while kill -0 "$child" 2>/dev/null; do
		status=0
		wait "$child" || status=$?
	done
	kill "$beside" 2>/dev/null || true
	exit "$status"
}
