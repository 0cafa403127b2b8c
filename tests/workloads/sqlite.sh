# Several writers and a reader on one database with a write-ahead log; one of them is killed.
sql() {
    sqlite3 -batch -bail -cmd '.timeout 60000' data.db "$@"
}

# rows WRITER COUNT: as many transactions.
rows() {
    for i in $(seq "$2"); do
        echo "BEGIN IMMEDIATE;"
        echo "INSERT INTO t(writer, n, fill) VALUES ($1, $i, hex(zeroblob($((i * 37 % 900)))));"
        echo "UPDATE sums SET total = total + $i WHERE writer = $1;"
        echo "COMMIT;"
    done
}

sql 'PRAGMA journal_mode = WAL'
sql 'CREATE TABLE t(id INTEGER PRIMARY KEY, writer INT, n INT, fill TEXT)' \
    'CREATE INDEX by_writer ON t(writer, n)' \
    'CREATE TABLE sums(writer INT PRIMARY KEY, total INT)' \
    'INSERT INTO sums VALUES (1, 0), (2, 0), (3, 0), (4, 0), (9, 0)'

writers=()
for writer in 1 2 3 4; do
    rows "$writer" 60 | sql >"$OUTSIDE/writer-$writer" &
    writers+=($!)
done
rows 9 100000 >"$OUTSIDE/endless"
sqlite3 -batch -cmd '.timeout 60000' data.db <"$OUTSIDE/endless" >"$OUTSIDE/writer-9" &
killed=$!
sleep 0.5
kill -KILL "$killed"
wait "$killed" 2>/dev/null || true
for i in $(seq 10); do
    sql 'PRAGMA quick_check' >"$OUTSIDE/check"
    grep -qx ok "$OUTSIDE/check"
done
for pid in "${writers[@]}"; do wait "$pid"; done

sql 'PRAGMA integrity_check'
sql 'SELECT writer, count(*), sum(n) FROM t WHERE writer < 9 GROUP BY writer'
sql 'SELECT * FROM sums WHERE writer < 9'
sql 'SELECT (SELECT total FROM sums WHERE writer = 9) = (SELECT total(n) FROM t WHERE writer = 9)'
sql 'DELETE FROM t WHERE n % 2' 'PRAGMA wal_checkpoint(TRUNCATE)' 'VACUUM'
sql 'PRAGMA journal_mode = DELETE' 'PRAGMA integrity_check'
sql 'SELECT count(*) FROM t WHERE writer < 9'
rm data.db
find .
