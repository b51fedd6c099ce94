# Runs named stages and reports how long each took. Source it.
stage_names=()
stage_seconds=()

# stage NAME COMMAND...: runs the command, announced, and remembers how long it took.
stage() {
    local name="$1" begin=$SECONDS
    shift
    printf '\033[1m==> %s\033[0m\n' "$name" >&2
    "$@"
    stage_names+=("$name")
    stage_seconds+=("$((SECONDS - begin))")
}

# Prints a table of the stages so far to standard error.
report_stages() {
    local index total=0
    printf '\n%-24s %8s\n' stage seconds >&2
    for index in "${!stage_names[@]}"; do
        printf '%-24s %8d\n' "${stage_names[$index]}" "${stage_seconds[$index]}" >&2
        total=$((total + stage_seconds[index]))
    done
    printf '%-24s %8d\n' total "$total" >&2
}
