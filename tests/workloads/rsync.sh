# A tree copied onto the mount and back, whole and then only what changed.
# A negative window: times are compared to the nanosecond.
keep=(-aHAXS --numeric-ids --delete --modify-window=-1)

# same A B: nothing is left to copy, and a listing finds no difference either.
same() {
    rsync "${keep[@]}" --dry-run --checksum --itemize-changes "$1/" "$2/" >"$OUTSIDE/changes"
    if [ -s "$OUTSIDE/changes" ]; then
        echo "rsync sees differences between $1 and $2:" >&2
        cat "$OUTSIDE/changes" >&2
        exit 1
    fi
    listing "$1" >"$OUTSIDE/listing-1"
    listing "$2" >"$OUTSIDE/listing-2"
    diff "$OUTSIDE/listing-1" "$OUTSIDE/listing-2"
}

# settle: what has just changed in the tree gets a time that is the same in each run.
settle() {
    find "$tree" -newermt 2020-01-01 ! -newermt 2090-01-01 \
        -exec touch -h -d '2002-03-04 05:06:07.890123456' {} +
}

tree=$OUTSIDE/tree
make_tree "$tree"
rsync "${keep[@]}" "$tree/" here/
same "$tree" here
is_sparse here/sparse
rsync "${keep[@]}" here/ "$OUTSIDE/back/"
same here "$OUTSIDE/back"
same "$tree" "$OUTSIDE/back"

# Changes: content, size, owner, a name gone, another link, attributes.
echo changed >>"$tree/size-4096"
truncate -s 5000 "$tree/size-1100000"
chown 4321:5432 "$tree/deep/a/file 1"
rm -r "$tree/deep/a/b" "$tree/sticky"
ln "$tree/size-1" "$tree/another link"
setfattr -x user.empty "$tree/deep"
setfattr -n user.text -v other "$tree/size-1"
setfacl -b "$tree/size-4097"
settle
rsync "${keep[@]}" "$tree/" here/
same "$tree" here
echo again >>"$tree/size-4096"
settle
rsync -aHAX --numeric-ids --delete --modify-window=-1 --inplace --no-whole-file "$tree/" here/
same "$tree" here
rsync "${keep[@]}" here/ "$OUTSIDE/back/"
same "$tree" "$OUTSIDE/back"
listing here
