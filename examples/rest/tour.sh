#!/bin/sh
# A tour of the REST API with curl. Needs a tenant with open sign-up.
# Usage: KEYSTEAD_URL=http://127.0.0.1:8080 KEYSTEAD_TENANT=acme sh examples/rest/tour.sh
set -eu
url="${KEYSTEAD_URL:-http://127.0.0.1:8080}/api/v1"
tenant="${KEYSTEAD_TENANT:-acme}"
user="tour-$$"

step() { printf '\n== %s\n' "$1"; }
# call METHOD PATH [curl's arguments]: the body, or an end with the problem's text.
call() {
  method="$1" path="$2"
  shift 2
  curl --silent --show-error --fail-with-body --request "$method" "$url$path" "$@" ${token:+--header "Authorization: Bearer $token"}
  echo
}
json='Content-Type: application/json'

step "an account, and its token"
token=""
answer=$(call POST /auth/register --header "$json" --data \
  "{\"tenant\":\"$tenant\",\"username\":\"$user\",\"email\":\"$user@example.com\",\"password\":\"Correct-horse-7\"}")
token=$(printf '%s' "$answer" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
call GET /auth/me

step "a key with a time to live and tags, and back"
call PUT /kv/tour%2Fgreeting --header "$json" --data '{"value":{"hello":"world"},"ttl":600,"tags":{"lang":"en"}}'
call GET /kv/tour%2Fgreeting

step "a change of a part of it, if nobody else was faster"
etag=$(curl --silent --head --header "Authorization: Bearer $token" "$url/kv/tour%2Fgreeting" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
call PATCH /kv/tour%2Fgreeting --header 'Content-Type: application/merge-patch+json' --header "If-Match: $etag" \
  --data '{"lang":"en"}'

step "bytes as they are"
printf 'not JSON' | call PUT /kv/tour%2Fbytes --header 'Content-Type: text/plain' --header 'X-TTL: 600' --data-binary @-
call GET /kv/tour%2Fbytes --header 'Accept: application/octet-stream'

step "a counter that a lost answer does not count twice"
for _ in 1 2; do
  call POST /kv/tour%2Fcounter/incr --header "$json" --header "Idempotency-Key: $user" --data '{"by":5}'
done

step "several at once"
call POST /kv/batch --header "$json" --data \
  '{"items":[{"key":"tour/a","value":1,"tags":{"lang":"en"}},{"op":"get","key":"tour/a"},{"op":"delete","key":"tour/nothing"}]}'

step "all keys of the tour that have the tag, with their values"
call GET '/kv?prefix=tour/&tag_filter=lang:en&values=true'

step "a job for later, and its end before it began"
answer=$(call POST /jobs --header "$json" --data '{"kind":"kv.export","payload":{"prefix":"tour/"},"delay":3600}')
echo "$answer"
id=$(printf '%s' "$answer" | sed -n 's/.*"id":"\([^"]*\)".*/\1/p')
call DELETE "/jobs/$id"

step "the end of the session"
call DELETE /kv/tour%2Fcounter
call POST /auth/logout
echo "done"
