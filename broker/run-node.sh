#!/bin/sh
# Runs a private RabbitMQ node with an epmd of its own, and ends both together.
#
#   sh run-node.sh SERVER keep|tied
#
# SERVER is the rabbitmq-server executable; its settings, and epmd's, come in the environment. TERM stops the node
# in good order. With `tied`, so does the end of standard input: the node then ends with the process that holds the
# other end of that pipe, however that process ends.
set -u
exec 3<&0 </dev/null

epmd=$(command -v epmd || true)
if [ -z "$epmd" ]; then
    root=$(erl -noinput -eval 'io:put_chars(code:root_dir()), halt().') || exit 127
    for epmd in "$root"/erts-*/bin/epmd; do :; done
fi

# In the foreground of its own process, never `-daemon`: a daemon would outlive the node.
"$epmd" -port "$ERL_EPMD_PORT" -address "$ERL_EPMD_ADDRESS" 3<&- &
epmd_pid=$!
"$1" 3<&- &
server_pid=$!
trap 'kill -TERM "$server_pid" 2>/dev/null' TERM INT HUP

watch_pid=
if [ "$2" = tied ]; then
    { cat <&3 >/dev/null; kill -TERM "$$" 2>/dev/null; } &
    watch_pid=$!
fi
exec 3<&-

# `wait` returns early when a trapped signal arrives, hence the loop.
while kill -0 "$server_pid" 2>/dev/null; do wait "$server_pid"; status=$?; done
kill "$epmd_pid" 2>/dev/null
exit "${status:-0}"
