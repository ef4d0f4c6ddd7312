# shellcheck shell=sh
# shellcheck disable=SC2034 # the scripts that read this use what it sets
# What the scripts do otherwise where Redis speaks TLS. Read by them, not run.

tls=${KEYSTEAD_TLS:-/etc/keystead/tls}
# Arguments of redis-cli, to ask others and to ask the own Redis. That one is reached within the pod, and must be told of a
# certificate also by somebody who has no reason to trust the one that it has. Without --cacert it would read all authorities of
# the system first: 65 ms of CPU.
secure='' secure_own=''
if [ -e "$tls/ca.crt" ]; then
	secure="--tls --cacert $tls/ca.crt"
	secure_own="$secure --insecure"
fi

# Prints all that is mounted, so that a change is seen; nothing without TLS.
certificates() {
	[ -z "$secure" ] || cat "$tls/ca.crt" "$tls/tls.crt" "$tls/tls.key"
}

# Prints the arguments of CONFIG SET by which Redis reads them again. Connections that are open go on as they are.
certificate_settings() {
	[ -z "$secure" ] || echo "tls-cert-file $tls/tls.crt tls-key-file $tls/tls.key tls-ca-cert-file $tls/ca.crt"
}

# Prints the lines of a Sentinel's configuration by which it listens.
sentinel_port() {
	if [ -z "$secure" ]; then
		echo "port 26379"
		return
	fi
	echo "port 0"
	echo "tls-port 26379"
	echo "tls-cert-file $tls/tls.crt"
	echo "tls-key-file $tls/tls.key"
	echo "tls-ca-cert-file $tls/ca.crt"
	echo "tls-auth-clients no"
	echo "tls-replication yes"
	echo 'tls-protocols "TLSv1.2 TLSv1.3"'
}

# Prints the line of the configuration of a cluster's node by which others know its port.
announced_port() {
	if [ -z "$secure" ]; then echo "cluster-announce-port 6379"; else echo "cluster-announce-tls-port 6379"; fi
}
