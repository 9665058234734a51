#!/bin/sh
# Builds the wheel, installs it with the locked requirements in an empty environment, and makes a call with it from another folder.
set -eu
python=$1
tree=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --wheel --no-isolation --outdir "$work/dist" "$tree" >/dev/null
"$python" -m venv "$work/venv"
install="$work/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile"
$install --no-deps --require-hashes -r "$tree/requirements.lock"
$install --no-deps "$work"/dist/callvault-*.whl
"$work/venv/bin/python" -m pip check --disable-pip-version-check
cd "$work"
"$work/venv/bin/callvault" --version
"$work/venv/bin/callvault" policy show --profiles | grep -q "Amsterdam / NL / EEA"
for language in nl de en; do "$work/venv/bin/callvault" policy page default --lang $language --format html --data "$work/none" >/dev/null; done
"$work/venv/bin/callvault" demo --once --quick --json "$work/figures.json"
"$work/venv/bin/python" - "$work/figures.json" <<'EOF'
import json, pathlib, sys
import gateway
from media.native import CORE
figures = json.loads(pathlib.Path(sys.argv[1]).read_text())
assert "site-packages" in gateway.__file__, gateway.__file__
assert CORE is not None, "the wheel was built without its native core"
assert figures["audio_equal"] is True and figures["erased_unreadable"] is True, figures
print("wheel: installed, called, sealed, erased:", {k: figures[k] for k in ("setup_ms", "ready_ms", "erase_ms")})
EOF
