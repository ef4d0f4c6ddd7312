#!/bin/sh
# Starts Redis on the tenant's own volume, and on no other tenant's.
set -eu
# shellcheck source-path=SCRIPTDIR source=tls.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/tls.sh"
# shellcheck source-path=SCRIPTDIR source=volume.sh
. "${KEYSTEAD_CONFIG:-/etc/keystead/redis}/volume.sh"

owner=/data/.keystead-tenant
if [ -s "$owner" ] && [ "$(cat "$owner")" != "$KEYSTEAD_TENANT" ]; then
	echo "The volume belongs to tenant $(cat "$owner"), not to $KEYSTEAD_TENANT: Redis is not started." >&2
	exit 1
fi
[ -s "$owner" ] || printf '%s' "$KEYSTEAD_TENANT" >"$owner"
# Another of its members may have been the primary, and have what this one has not.
if [ -e /data/sentinel ]; then
	echo "The volume is that of one of several members: set redis.topology to Replicated. Redis is not started." >&2
	exit 1
fi

bring_into_form /data /etc/keystead/redis/redis.conf

users=/etc/keystead/users/users.acl
live=/etc/keystead/redis/live.conf
cli=$(command -v redis-cli || command -v valkey-cli)

# The lines of both files as commands, and that for the certificate. ACL LOAD would cut every connection (7.0), these cut none.
commands() {
	while read -r _ user rules; do
		[ -z "$user" ] || echo "ACL SETUSER $user reset $rules"
	done <"$users"
	while read -r name value; do
		[ -z "$name" ] || echo "CONFIG SET $name $value"
	done <"$live"
	[ -z "$secure" ] || echo "CONFIG SET $(certificate_settings)"
}

# Prints what Redis reads.
mounted() {
	cat "$users" "$live" && certificates
}

# Makes users, settings and the certificate known that have changed since Redis read them.
keep() {
	set +e
	known=$(mounted) said=
	worked=$(cat /etc/keystead/keeper/password)
	# Ends with Redis, which takes the place of this script.
	while sleep 5 && kill -0 $$ 2>/dev/null; do
		now=$(mounted) || continue
		[ "$now" != "$known" ] || continue
		# The one that is mounted, or the last one that worked: Redis may not know the new one yet.
		for password in "$(cat /etc/keystead/keeper/password)" "$worked"; do
			# shellcheck disable=SC2086 # a list of arguments
			answers=$(commands | REDISCLI_AUTH=$password "$cli" $secure_own -h 127.0.0.1 -p 6379 --user keeper 2>&1)
			case $answers in
			OK*) break ;;
			esac
		done
		if [ -n "$answers" ] && ! echo "$answers" | grep -qv '^OK$'; then
			known=$now
			worked=$(cat /etc/keystead/keeper/password)
			say="keystead: users and settings were changed."
		else
			say="keystead: users and settings could not be changed yet: $answers"
		fi
		[ "$say" = "$said" ] || echo "$say" >&2
		said=$say
	done
}

keep &
server=$(command -v redis-server || command -v valkey-server)
exec "$server" /etc/keystead/redis/redis.conf
