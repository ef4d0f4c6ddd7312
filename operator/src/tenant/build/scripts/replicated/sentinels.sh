# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # the scripts that read this use what it sets; lib.sh sets what it uses
# What the Sentinels say. Read by the scripts after lib.sh, not run.

# By this name the Sentinels know the primary.
primary_name=primary
manager=sentinel

# Prints the address asked and the primary that its Sentinel names, `none` if it knows none; nothing without an answer.
vote_of() (
	answer=$(ask monitor "$1" 26379 SENTINEL GET-MASTER-ADDR-BY-NAME "$primary_name") || exit 0
	case $answer in
	"") echo "$1 none" ;;
	*"${nl}6379") echo "$1 ${answer%"$nl"*}" ;;
	esac
)

# Asks every Sentinel. Sets answered and known (how many name one), primary (whom a majority of all members names) and
# agreed (whom all that know one name).
ask_sentinels() {
	votes=$(
		for member in $all; do
			vote_of "$member" &
		done
		wait
	)
	answered=0 known=0 primary='' agreed=''
	while read -r _ vote; do
		[ -n "$vote" ] || continue
		answered=$((answered + 1))
		[ "$vote" != none ] || continue
		known=$((known + 1))
	done <<-EOF
		$votes
	EOF
	for member in $all; do
		for_it=0
		while read -r _ vote; do
			[ "$vote" != "$member" ] || for_it=$((for_it + 1))
		done <<-EOF
			$votes
		EOF
		[ "$for_it" -le $((count / 2)) ] || primary=$member
		[ "$for_it" -eq 0 ] || [ "$for_it" -ne "$known" ] || agreed=$member
	done
}
