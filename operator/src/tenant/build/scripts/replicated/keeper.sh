# shellcheck shell=sh
# shellcheck disable=SC2154 # set by lib.sh and sentinel.sh
# The keeper, read by sentinel.sh: registers the primary at a Sentinel that knows none, says when the own Redis is a
# candidate for primary, makes new users and passwords known, and puts right a primary that has been replaced.

# Whom a Sentinel that knows none is to watch, into primary; fails while that is unclear. It has no configuration, so the
# volume is new: either the others know, or nobody ever knew.
find_primary() {
	ask_sentinels
	if [ -n "$primary" ]; then return 0; fi
	if [ "$answered" -lt "$count" ]; then
		say "Sentinel knows no primary and waits for the others: $answered of $count answer, $known know one."
		return 1
	fi
	if [ "$known" -gt 0 ]; then
		primary=$agreed
		[ -n "$primary" ] || say "Sentinel knows no primary and waits until the others agree: $votes"
		[ -n "$primary" ]
		return
	fi
	# Nobody knows. A primary that runs all the same is it; else this is the first start.
	# shellcheck disable=SC2086 # a list of addresses
	reports=$(reports_of $all)
	primary=$first
	while read -r address role _; do
		[ "$role" != master ] || primary=$address
	done <<-EOF
		$reports
	EOF
}

register() {
	find_primary || return 0
	note "Sentinel watches $primary."
	lacks_options=yes
	if tell 26379 SENTINEL MONITOR "$primary_name" "$primary" 6379 "$quorum" && set_options; then
		lacks_options=''
		return 0
	fi
	say "Sentinel refuses to watch $primary: tries again."
	tell 26379 SENTINEL REMOVE "$primary_name" || true
}

# The same as sentinel.sh writes for a Sentinel that knows the primary.
set_options() {
	while read -r option value; do
		tell 26379 SENTINEL SET "$primary_name" "$option" "$value" || return 1
	done <<-EOF
		$settings
	EOF
	tell 26379 SENTINEL SET "$primary_name" auth-user sentinel && set_auth_pass
}

set_auth_pass() {
	password sentinel | tell 26379 -x SENTINEL SET "$primary_name" auth-pass
}

# The password only where it is another: a Sentinel that is told one drops its connections, and may take Redis for down.
set_sentinel() {
	set_users 26379 "$users/sentinel-users.acl" || return 1
	[ "$(password sentinel)" != "$sentinel_password" ] || return 0
	set_auth_pass && password sentinel | tell 26379 -x SENTINEL CONFIG SET sentinel-pass || return 1
	sentinel_password=$(password sentinel)
}

# A Sentinel reads its certificate only at its start. So that never two of them are away, each has a time of its own by the
# clock, and ends only while all answer and no failover is under way; but if they do not for five minutes, then all the same:
# it may be for their certificates.
renew_sentinel() {
	[ "$(certificates)" != "$started_with" ] || return 0
	pause=0.5
	second=$(date +%s)
	[ -n "$renew_since" ] || renew_since=$second
	if [ $((second / 10 % count)) -ne "${pod_name##*-}" ] || [ $((second % 10)) -ge 5 ]; then return 0; fi
	if [ $((second - renew_since)) -lt 300 ]; then
		ask_sentinels
		if [ "$answered" -lt "$count" ] || [ -z "$primary" ] || is_unsettled "$me"; then return 0; fi
	fi
	note "Sentinel starts anew with another certificate."
	: >"$run/start-anew"
	kill -TERM "$child"
}

# Only who has been in sync since its start, and since it was a primary last, is a candidate: what it has is then a part of
# what the primary has, also while its link is down.
candidacy() {
	tell 6379 CONFIG SET replica-priority "$1" || return 0
	candidate=$1
	[ "$1" = 0 ] || note "In sync: a candidate for primary."
}

# Has the own Redis, which has just got its copy, connect anew: it goes on where it was. The primary sends what was written since
# the copy only after the next word of its replica where the first one came before the child that sent the copy had ended, as it
# does with little data: up to a second later, in which no write is confirmed.
hasten() {
	is_new=''
	[ "$link" = up ] || is_copied || return 0
	[ "$(ask "$manager" "$me" 6379 CLIENT KILL TYPE master)" != 1 ] || note "Has its copy, and connects anew."
}

# Waits for the copy, for up to 5 s; fails where it comes later, or took more than a second: then much may have been written since.
is_copied() {
	patience=5 ask monitor "$me" 6379 -r 100 -i 0.05 INFO replication | {
		looks=0
		while IFS=: read -r field value; do
			case $field:$value in
			master_sync_in_progress:1*) looks=$((looks + 1)) ;;
			master_link_status:up*)
				[ "$looks" -lt 20 ]
				exit
				;;
			esac
		done
		exit 1
	}
}

# Whether a Sentinel says that a failover is under way, or that the primary does not answer.
is_unsettled() {
	case $(ask monitor "$1" 26379 SENTINEL MASTER "$primary_name") in
	*failover_in_progress* | *_down*) ;;
	*) return 1 ;;
	esac
}

# A primary that was cut off is told by the Sentinels after 10 s or more; what it takes until then is lost. Never one that they
# promote just now: until it says that it is a primary they name the one before, which may well answer.
demote() {
	[ -n "$was_named" ] || return 0
	for member in $all; do
		! is_unsettled "$member" || return 0
	done
	ask_sentinels
	[ -n "$primary" ] && [ "$primary" != "$me" ] || return 0
	case $(report_of "$primary") in
	*" master "*) ;;
	*) return 0 ;;
	esac
	note "The Sentinels name $primary, which is a primary: follows it."
	tell 6379 CONFIG SET replica-priority 0 && tell 6379 REPLICAOF "$primary" 6379
}

# A Sentinel asks each member every 10 s for its replicas, its part and how far it is: too long to know of a replica that has
# just come, without which there is nobody to promote.
look_often() {
	[ -z "$looks_often" ] || return 0
	# One that does not know the command goes on as it is.
	tell 26379 SENTINEL DEBUG INFO-PERIOD 1000 || note "Sentinel does not take INFO-PERIOD: it may know of changes 10 s late."
	# What it sends to a pod that is gone, before its address leads to the next, has no answer: by itself it tries again after 15 s.
	tell 26379 SENTINEL DEBUG MIN-LINK-RECONNECT-PERIOD 3000 || note "Sentinel does not take MIN-LINK-RECONNECT-PERIOD."
	looks_often=yes
}

# Who does not answer is mostly starting, and is looked at soon again; but not a Redis that waits for others, maybe for ever.
soon() {
	[ ! -e "$run/waiting" ] || return 0
	absent=$((absent + 1))
	[ "$absent" -gt 30 ] || pause=0.1
}

# Sets pause: the seconds until the next look.
look() {
	pause=0.5
	vote=$(vote_of "$me")
	[ -z "$vote" ] || look_often
	case $vote in
	"")
		soon
		return 0
		;;
	*" none")
		register
		return 0
		;;
	esac
	# It was told whom to watch, and not all of how.
	if [ -n "$lacks_options" ]; then
		set_options || return 0
		lacks_options=''
	fi
	report=$(report_of "$me")
	if [ -z "$report" ]; then
		is_new=yes
		soon
		return 0
	fi
	absent=0
	reload set_redis set_sentinel || say "Users and passwords could not be made known yet."
	set_live
	set_certificate
	read -r _ role priority link _ _ disk <<-EOF
		$report
	EOF
	case "$role $vote" in
	"master $me $me") was_named=yes ;;
	slave*) was_named='' ;;
	esac
	case $role:$link:$disk:$priority in
	# A primary does not show its priority.
	master:*)
		is_new=''
		[ "$candidate" = 0 ] || candidacy 0
		;;
	*:0)
		if [ -n "$is_new" ]; then
			hasten
			return 0
		fi
		[ "$link:$disk" = up:same ] || return 0
		candidacy 100
		;;
	*) candidate=$priority ;;
	esac
	if [ "$role" = master ] && [ "$vote" != "$me $me" ]; then
		demote
		return 0
	fi
	pause=5
}

# Until the next look: a Redis that waited is looked at when it begins.
rest() {
	if [ ! -e "$run/waiting" ]; then
		sleep "$pause"
		return
	fi
	for _ in 1 2 3 4 5; do
		sleep 0.1
		[ -e "$run/waiting" ] || return 0
	done
}

keep() {
	set +e
	# sentinel.sh has put it into the configuration.
	sentinel_password=$(password sentinel)
	# was_named: the own Sentinel has named it since it became a primary.
	# is_new: nothing is known of a copy that it has; absent: looks in a row that one of both did not answer.
	candidate=unknown looks_often='' renew_since='' was_named='' lacks_options='' is_new=yes absent=0
	while :; do
		look
		renew_sentinel
		rest
	done
}
