#!/bin/bash
# One request and one denied source through a real sluiced: XDP on a veth, sk_lookup for an address
# that no interface has, HTTP/1 to a backend. Made for the emulated kernels, but runs anywhere.
# usage: tests/vm/smoke.sh ENGINE        io_uring or epoll
set -euo pipefail
engine=${1:?usage: smoke.sh io_uring|epoll}
top=$(readlink -f "$(dirname "$0")/../..")
build=${SLUICE_BUILD:-$top/build}
gateway=sluice-smk-gw client=sluice-smk-cl
limit_s=60 # emulation is slow; nothing here waits longer than it must
scratch=$(mktemp -d -t sluice-smoke-XXXXXX)
pins=/sys/fs/bpf/${scratch##*/} # no dots: bpffs refuses them
pids=()
bpftool=/usr/sbin/bpftool

cleanup() {
	local pid
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	ip netns delete $client 2>/dev/null || true
	ip netns delete $gateway 2>/dev/null || true
	[[ ! -d $pins ]] || rm -r "$pins"
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
	echo "smoke $engine: $*"
	echo '--- sluiced:'
	cat "$scratch/sluiced.log" 2>/dev/null || true
	exit 1
}

# until_true WHAT COMMAND...: again and again, until it succeeds or the time is over.
until_true() {
	local what=$1 deadline=$((SECONDS + limit_s))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || fail "no $what within $limit_s s"
		sleep 0.1
	done
}

# Not `ip netns exec`: it would hide bpffs.
# In the background without a function: $! is to be the program itself, not a shell around it.
enter_gateway=(nsenter "--net=/run/netns/$gateway")
get() {
	nsenter --net=/run/netns/$client curl -sS --max-time "${2:-20}" --noproxy '*' \
		"http://192.0.2.10$1"
}
is_denied() { ! get /hello.txt 2 2>/dev/null; }

ip netns add $gateway
ip netns add $client
ip -n $gateway link add smk0 type veth peer name smk0 netns $client
ip -n $gateway link set lo up
for end in $gateway:198.18.7.1/24 $client:198.18.7.2/24; do
	# Checksums left to the "hardware" do not survive XDP.
	nsenter --net=/run/netns/"${end%:*}" ethtool -K smk0 tx off >/dev/null
	ip -n "${end%:*}" address add "${end#*:}" dev smk0
	ip -n "${end%:*}" link set smk0 up
done
ip -n $client route add 192.0.2.0/24 via 198.18.7.1

mkdir "$scratch/www" "$scratch/state"
echo "hello from the backend" >"$scratch/www/hello.txt"
"${enter_gateway[@]}" /usr/bin/python3 -m http.server --bind 127.0.0.1 --directory "$scratch/www" 8080 \
	>"$scratch/backend.log" 2>&1 &
pids+=($!)
until_true backend "${enter_gateway[@]}" curl -sf --noproxy '*' http://127.0.0.1:8080/hello.txt

cat >"$scratch/sluice.yaml" <<EOF
version: 1
node:
  workers: 2
  io: $engine
  state_dir: $scratch/state
  bpffs: $pins
  admin: { socket: $scratch/admin.sock }
dataplane:
  interfaces: [ { name: smk0, xdp: auto } ]
listeners:
  - { name: web, address: [ "192.0.2.0/24:80" ], protocol: http }
upstreams:
  - { name: site, endpoints: [ "127.0.0.1:8080" ] }
routes:
  - { name: all, match: { path: { prefix: / } }, proxy: { upstream: site } }
EOF
"${enter_gateway[@]}" "$build/sluiced" --config "$scratch/sluice.yaml" >"$scratch/sluiced.log" 2>&1 &
sluiced=$!
pids+=("$sluiced")
is_ready_or_dead() { grep -q ready "$scratch/sluiced.log" || ! kill -0 "$sluiced"; }
until_true 'ready line' is_ready_or_dead
kill -0 "$sluiced" 2>/dev/null || fail 'sluiced ended at its start'

[[ $(get /hello.txt) == 'hello from the backend' ]] || fail 'the answer is not the backend'"'s"
links=$("$bpftool" link show)
[[ $links == *"netns_ino $(stat -Lc %i /run/netns/$gateway)  attach_type sk_lookup"* ]] ||
	fail "sk_lookup is not attached: $links"
link=$(ip -n $gateway -d link show smk0)
[[ $link == *xdp* ]] || fail "XDP is not attached: $link"

sluice() { "$build/sluice" --socket "$scratch/admin.sock" "$@"; }
sluice deny add 198.18.7.2 reason smoke || fail 'cannot deny the client'
until_true 'refusal of the denied client' is_denied
sluice deny delete 198.18.7.2 || fail 'cannot allow the client again'
[[ $(get /hello.txt) == 'hello from the backend' ]] || fail 'no answer after the deny was removed'

kill -TERM "$sluiced"
status=0
wait "$sluiced" || status=$?
((status == 0)) || fail "sluiced ended with status $status at SIGTERM"
