# A tree packed and unpacked with everything that tar can keep.
keep=(--xattrs --xattrs-include='*' --acls -p --numeric-owner)
make_tree tree
listing tree >"$OUTSIDE/before"
tar "${keep[@]}" --sparse -cf "$OUTSIDE/tree.tar" tree
mkdir out
tar "${keep[@]}" --same-owner -xf "$OUTSIDE/tree.tar" -C out
listing out/tree >"$OUTSIDE/after"
diff "$OUTSIDE/before" "$OUTSIDE/after"
is_sparse out/tree/sparse
tar "${keep[@]}" -df "$OUTSIDE/tree.tar"

# Over what is there already, in place and by way of unlinking.
tar "${keep[@]}" --overwrite -xf "$OUTSIDE/tree.tar" -C out
tar "${keep[@]}" --unlink-first --recursive-unlink -xf "$OUTSIDE/tree.tar" -C out
listing out/tree >"$OUTSIDE/after"
diff "$OUTSIDE/before" "$OUTSIDE/after"
cat "$OUTSIDE/before"
