#!/bin/sh
# Surveil's three roles and a toy repository, in one go: a green commit, then a red one, and what Surveil has to say
# about both. Everything lies in a temporary directory, listens at a free port of this machine, and is gone at the end.
#
#   cargo build && SURVEIL=target/debug/surveil examples/demo/run.sh
#
# SURVEIL names the program (default: `surveil` on the PATH). Needs git and a POSIX shell.
set -eu

program=${SURVEIL:-surveil}
program=$(command -v "$program") || { echo "no program ${SURVEIL:-surveil}: name it with SURVEIL=..." >&2; exit 2; }
case $program in /*) ;; *) program=$PWD/$program ;; esac

dir=$(mktemp -d)
dispatcher='' observer='' runner=''

# Asks a process to end, waits five seconds for it, and then ends it.
stop() {
    kill "$1" 2>/dev/null || return 0
    tries=0
    while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

# Ends what was started, the dispatcher last, and leaves nothing behind.
end() {
    code=$?
    trap '' EXIT INT TERM
    for pid in $observer $runner $dispatcher; do
        stop "$pid"
        wait "$pid" 2>/dev/null || true
    done
    if [ "$code" -ne 0 ]; then
        echo "the demo ended early; what the three roles said:" >&2
        cat "$dir"/*.log >&2 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$code"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }

# Shows a command as one would type it, and runs it. A red build is an exit code, and here not the end.
ask() {
    printf '$ surveil %s\n' "$*"
    "$program" "$@" || echo "(exit code $?)"
}

# Waits until a file has a line with these words: ten seconds, or until one of the roles has ended.
await() {
    tries=0
    until grep -q "$2" "$1" 2>/dev/null; do
        tries=$((tries + 1))
        for pid in $observer $runner $dispatcher; do
            kill -0 "$pid" 2>/dev/null || tries=101
        done
        if [ "$tries" -gt 100 ]; then
            echo "nothing came about \`$2\`" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# A repository apart from this user's git settings.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=Demo GIT_AUTHOR_EMAIL=demo@example.org
export GIT_COMMITTER_NAME=Demo GIT_COMMITTER_EMAIL=demo@example.org
repo=$dir/toy
commit() {
    git -C "$repo" add -A
    git -C "$repo" commit -q -m "$1"
    printf '$ git commit -m "%s"\n' "$1"
}

say 'a repository that says what is to be done for each of its commits'
git init -q -b main "$repo"
cat >"$repo/.surveil.toml" <<'END'
[task.build]
run = "echo building $SURVEIL_COMMIT && sh -n greet.sh"

[task.test]
needs = ["build"]
run = "test \"$(sh greet.sh)\" = hello || { echo 'greet.sh does not say hello'; exit 1; }"
timeout = "1m"
END
echo 'echo hello' >"$repo/greet.sh"
cat "$repo/.surveil.toml"

say 'the three roles'
# Commands find the dispatcher and its tokens by these, the roles too.
export SURVEIL_DATA="$dir/data" SURVEIL_WORK="$dir/work"
unset SURVEIL_DISPATCH SURVEIL_TOKEN_FILE
"$program" dispatcher --port 0 --spawn 0 >"$dir/dispatcher.log" 2>&1 &
dispatcher=$!
await "$dir/dispatcher.log" 'listening at'
port=$(sed -n '/listening at/{s/.*://p;q;}' "$dir/dispatcher.log")
export SURVEIL_DISPATCH="localhost:$port"
"$program" observer "$repo" >"$dir/observer.log" 2>&1 &
observer=$!
# Little free space is enough for a toy.
"$program" runner --name demo --slots 2 --min-free 1MiB >"$dir/runner.log" 2>&1 &
runner=$!
await "$dir/observer.log" 'reached'
await "$dir/dispatcher.log" 'runner demo joined'
echo "dispatcher at localhost:$port, an observer of $repo, a runner with 2 slots"

say 'a first commit, seen at once'
commit 'a friendly greeting'
await "$dir/observer.log" 'b1 .*accepted'
ask show b1 --wait

say 'a second one, which breaks it'
echo 'echo good morning' >"$repo/greet.sh"
commit 'a politer greeting'
await "$dir/observer.log" 'b2 .*accepted'
ask show b2 --wait

say 'what the failed task wrote'
ask logs b2 test

say 'and why things are as they are'
ask why b2

say 'all of it at a glance'
ask status

say 'that was it; everything is stopped and deleted'
