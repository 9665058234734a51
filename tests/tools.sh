#!/bin/sh
# Installs the peers that the tests drive, where that is possible: only as root, and only what is missing.
set -eu
need=""
PATH=$PATH:/usr/sbin
command -v sipp >/dev/null 2>&1 || need="$need sip-tester"
command -v kamailio >/dev/null 2>&1 || need="$need kamailio"
ls /usr/lib/*/kamailio/modules/tls.so >/dev/null 2>&1 || need="$need kamailio-tls-modules"
command -v baresip >/dev/null 2>&1 || need="$need baresip-core"
command -v chromium >/dev/null 2>&1 || need="$need chromium"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need="$need postgresql"
command -v ip >/dev/null 2>&1 || need="$need iproute2"
command -v cc >/dev/null 2>&1 || need="$need gcc libc6-dev"
[ -e /usr/include/openssl/evp.h ] || need="$need libssl-dev"
ls /usr/lib*/softhsm/libsofthsm2.so >/dev/null 2>&1 || need="$need softhsm2"
[ -z "$need" ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "MISSING:$need — tests that need them will be skipped, and say so. Install: apt-get install$need"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# The tests start kamailio and postgres themselves: their packages are not to start a service.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
# shellcheck disable=SC2086
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $need >/dev/null; }; then
    echo "COULD NOT INSTALL:$need — tests that need them will be skipped, and say so"
fi
