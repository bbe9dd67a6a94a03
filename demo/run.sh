#!/usr/bin/env bash
# One real round with dsa: publish Python's standard library, change a few files, publish it again,
# look at both, check both out, compare and verify. Only the command line is used, and only a
# temporary folder is written to.
set -euo pipefail

root=$(mktemp -d "${TMPDIR:-/tmp}/dsa-demo.XXXXXX")
trap 'rm -rf "$root"' EXIT

# A new user on this machine: the default store is made in this user's data folder.
for name in $(compgen -e DSA_ || true); do unset "$name"; done
export HOME=$root/home
export XDG_DATA_HOME=$root/data XDG_CACHE_HOME=$root/cache XDG_CONFIG_HOME=$root/config
export DSA_AUTHOR='Demo Publisher <publisher@example.org>'
mkdir -p "$HOME" "$XDG_DATA_HOME" "$XDG_CACHE_HOME" "$XDG_CONFIG_HOME"

stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
changed=$root/changed

# --- how it looks -------------------------------------------------------------------------------

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'
else
  bold='' dim='' green='' plain=''
fi

title() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s\n' "$*"; }

names=() times=()  # of every step that is timed

# step NAME COMMAND...: show a command, run it, remember how long it took.
step() {
  local name=$1 begin shown='$' word
  shift
  for word in "$@"; do
    if [[ $word == *[^[:alnum:]_./@=:+-]* ]]; then shown+=" '$word'"; else shown+=" $word"; fi
  done
  printf '%s%s%s\n' "$dim" "${shown//$root/\$TMP}" "$plain"
  begin=${EPOCHREALTIME/[^0-9]/}
  "$@"
  names+=("$name") times+=($((${EPOCHREALTIME/[^0-9]/} - begin)))
}

# measure FOLDER [EXCLUDED...]: set files= and bytes= of what is below a folder.
measure() {
  read -r files bytes < <(python - "$@" <<'PYTHON'
import os, sys

top, excluded, files, size = sys.argv[1], set(sys.argv[2:]), 0, 0
for folder, folders, names in os.walk(top, followlinks=True):
    folders[:] = [name for name in folders if name not in excluded]
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            files, size = files + 1, size + os.path.getsize(path)
print(files, size)
PYTHON
  )
}

# row WHAT FILES BYTES: one line of the table at the end.
row() { awk -v w="$1" -v f="$2" -v b="$3" 'BEGIN { printf "  %-34s %7d files %9.2f MB\n", w, f, b / 1e6 }'; }

# --- the round ----------------------------------------------------------------------------------

# A link that points nowhere can be published by nobody: name it, leave it out.
leave_out=(--exclude site-packages --exclude __pycache__)
untarred=(--exclude=site-packages --exclude=__pycache__)
uncompared=(--exclude=site-packages --exclude=__pycache__ --exclude=.dsa)
while IFS= read -r -d '' link; do
  link=${link#./}
  leave_out+=(--exclude "/$link") untarred+=("--exclude=./$link") uncompared+=("--exclude=${link##*/}")
done < <(cd "$stdlib" && find -L . \( -name site-packages -o -name __pycache__ \) -prune -o -type l -print0)

measure "$stdlib" site-packages __pycache__
files_1=$files bytes_1=$bytes

title "1. Publish a folder: Python's own standard library"
say "$stdlib: $files_1 files"
step "push 1" dsa push python-stdlib 1 "$stdlib" --follow-links "${leave_out[@]}" \
  -m "As it was installed" --metadata "python=$(python -c 'import platform; print(platform.python_version())')"
measure "$XDG_DATA_HOME"
store_files_1=$files store_bytes_1=$bytes

title "2. Change a handful of files and publish again"
mkdir "$changed"
tar -C "$stdlib" -chf - "${untarred[@]}" . | tar -C "$changed" -xf -
echo "# one more line" >>"$changed/json/decoder.py"
echo "print('a new module')" >"$changed/a_new_module.py"
rm "$changed/antigravity.py"
mv "$changed/textwrap.py" "$changed/text_wrap.py"
say "json/decoder.py edited, a_new_module.py added, antigravity.py deleted, textwrap.py renamed"
measure "$changed"
files_2=$files bytes_2=$bytes
step "push 2" dsa push python-stdlib 2 "$changed" -m "A handful of changes"
measure "$XDG_DATA_HOME"
store_files_2=$files store_bytes_2=$bytes

title "3. The same again writes nothing"
step "push 2 again" dsa push python-stdlib 2 "$changed"

title "4. What is there?"
step "revisions" dsa revisions -l
step "ls" dsa ls -l python-stdlib@2 json
step "show" dsa show python-stdlib@2

title "5. What changed?"
step "diff" dsa diff python-stdlib@1 python-stdlib@2

title "6. Check both out"
step "checkout 1" dsa checkout python-stdlib@1 "$root/one"
step "checkout 2" dsa checkout python-stdlib@2 "$root/two"

title "7. Are they what was published? Ask diff, which knows nothing of dsa"
step "diff -r 1" diff -r "${uncompared[@]}" "$stdlib" "$root/one"
step "diff -r 2" diff -r "${uncompared[@]}" "$changed" "$root/two"
say "${green}no difference${plain}"

title "8. Hash every stored byte again"
step "verify" dsa verify --data

# --- the account --------------------------------------------------------------------------------

grown=$((store_bytes_2 - store_bytes_1))
title "What was stored"
row "revision 1" "$files_1" "$bytes_1"
row "revision 2" "$files_2" "$bytes_2"
row "two plain copies would take" $((files_1 + files_2)) $((bytes_1 + bytes_2))
row "the store after push 1" "$store_files_1" "$store_bytes_1"
row "the store after push 2" "$store_files_2" "$store_bytes_2"
row "so revision 2 added" $((store_files_2 - store_files_1)) "$grown"
awk -v g="$grown" -v b="$bytes_2" 'BEGIN { printf "  %-34s %20.1f %%\n", "and shared with revision 1", 100 * (1 - g / b) }'

title "How long it took"
for i in "${!names[@]}"; do
  awk -v n="${names[i]}" -v t="${times[i]}" 'BEGIN { printf "  %-34s %13.2f s\n", n, t / 1e6 }'
done
printf '\n%sAll went well.%s The temporary folder is removed.\n' "$green" "$plain"
