# A repository of some hundred files and commits: clone, work, gc, fsck.
export HOME=$OUTSIDE GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.org
export GIT_COMMITTER_DATE='1700000000 +0000'

# history: 300 commits to 400 files, as git fast-import takes them.
history() {
    awk 'BEGIN {
        for (commit = 1; commit <= 300; commit++) {
            print "commit refs/heads/main"
            print "committer A <a@example.org> " 1600000000 + commit " +0000"
            print "data <<END\ncommit " commit "\nEND"
            for (change = 0; change < 5; change++) {
                file = (commit * 7 + change * 131) % 400
                mode = file % 10 == 0 ? "100755" : "100644"
                print "M " mode " inline dir" file % 23 "/sub" file % 3 "/file" file
                print "data <<END"
                for (line = 0; line < 40; line++) print file, line, line % 9 == change ? commit : 0
                print "END"
            }
        }
    }'
}

git init -q -b main origin
history | git -C origin fast-import --quiet
git -C origin reset -q --hard
git clone -q --no-local origin clone
git clone -q origin with-hard-links
cd clone
git fsck --full --strict
git checkout -q -b work main~100
git mv dir1 renamed
ln -s renamed link
git add link
git commit -q -m work
git merge -q -m merge main
git checkout -q main
git checkout -q work
git worktree add -q ../tree main~50
git gc -q --prune=now
git fsck --full --strict
git status --porcelain
git -C ../tree status --porcelain
git -C ../with-hard-links fsck --full
git push -q origin work
git -C ../origin gc -q --aggressive --prune=now
git -C ../origin fsck --full
git rev-parse HEAD main
git log --format=%H --all | sha256sum
git ls-files -s | sha256sum
git archive HEAD | tar -x -C "$OUTSIDE"
diff -r --no-dereference --exclude=.git . "$OUTSIDE"
