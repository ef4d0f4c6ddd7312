# shellcheck shell=sh
# shellcheck disable=SC2154 # set by lib.sh and by who reads this
# Makes users, passwords, settings and certificates known that have changed since Redis read them. Read by the scripts that
# watch, not run.

loaded=
live=
certified=

# set_users PORT FILE: its lines as commands. ACL LOAD would cut every connection (7.0), these cut none.
set_users() (
	# The rules are words, not patterns of files.
	set -f
	while read -r _ user rules; do
		# shellcheck disable=SC2086 # a list of rules
		[ -z "$user" ] || tell "$1" ACL SETUSER "$user" reset $rules || exit 1
	done <"$2"
)

set_redis() {
	set_users 6379 "$users/users.acl" && password replication | tell 6379 -x CONFIG SET masterauth
}

# With the password that is mounted, or as the last one that worked: the server may not know the new one yet.
with_either() {
	"$@" || (
		# shellcheck disable=SC2034 # lib.sh uses it
		logins=$run/before
		"$@"
	)
}

# Makes known to these what changed in the mounted Secrets.
reload() {
	now=$(cat "$users"/*.acl "$passwords"/*)
	[ "$now" != "$loaded" ] || return 0
	for setter in "$@"; do
		with_either "$setter" || return 1
	done
	mkdir -p "$run/before"
	password "$manager" >"$run/before/$manager"
	[ -z "$loaded" ] || note "Users and passwords were changed."
	loaded=$now
}

# Makes settings known that have changed since Redis read them.
set_live() {
	settings_now=$(cat "$config/live.conf" 2>/dev/null) || return 0
	[ "$settings_now" != "$live" ] || return 0
	answers=$(
		while read -r name value; do
			[ -z "$name" ] || echo "CONFIG SET $name $value"
		done <"$config/live.conf" | patience=2 ask "$manager" "$me" 6379
	) || return 0
	if [ -z "$answers" ] || echo "$answers" | grep -qv '^OK$'; then
		say "Settings could not be changed: $answers"
		return 0
	fi
	[ -z "$live" ] || note "Settings were changed."
	live=$settings_now
}

# Has Redis read its certificate where that has changed since it did.
set_certificate() {
	mounted=$(certificates)
	[ "$mounted" != "$certified" ] || return 0
	# shellcheck disable=SC2046 # a list of arguments
	if ! tell 6379 CONFIG SET $(certificate_settings); then
		say "The certificate could not be changed yet."
		return 0
	fi
	[ -z "$certified" ] || note "The certificate was changed."
	certified=$mounted
}
