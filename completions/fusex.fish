# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fusex_global_optspecs
    string join \n h/help V/version
end

function __fish_fusex_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fusex_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fusex_using_subcommand
    set -l cmd (__fish_fusex_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fusex -n "__fish_fusex_needs_command" -s h -l help -d 'Print help'
complete -c fusex -n "__fish_fusex_needs_command" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "bpf-load" -d 'Answer requests of a mount in the kernel'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "bpf-stats" -d 'Show what FUSE mounts are doing, whoever serves them'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "crash-test" -d 'Kill the processes of a mount, and see whether anybody notices'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "doctor" -d 'Look at what this machine can and cannot do'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "mount" -d 'Mount a directory, a file system in memory, or files made of pieces'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "splice-bench" -d 'Measure how bytes travel on this machine: copied, or by splice'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "supervise" -d 'Mount and stay in the foreground as a service, or talk to the supervisor of a mount'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "umount" -d 'Take a FUSE mount away'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l tier -d 'What the kernel must be able to do, or nothing is loaded' -r -f -a "hook\t'Requests are answered in the kernel'"
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l ttl -d 'So long may an answer be given, in seconds [default: as long as the server says; extended attributes and what else it says no time of 1 s]' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l negative-ttl -d 'The same for names and extended attributes that are not there' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l opcodes -d 'Answer these: lookup, getattr, getxattr, listxattr, statfs, readlink, access [default: all but access, whose callers are told apart without their supplementary groups]' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l xattrs -d 'Answer for these extended attributes only: names, or beginnings such as \'user.*\'' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l entries -d 'Keep so many names, nodes and values, each; the least used ones go' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l pin -d 'Pin maps and programs below DIR, which is in a BPF file system' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l probe -d 'Say what the running kernel can do, and what is missing for more; then end'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l detach -d 'Take the programs of the mount away'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l list -d 'List what is loaded, with counts'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l dump -d 'Print what the maps of the mount hold'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -l json -d 'Print JSON: one object'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-load" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -s i -l interval -d 'So many seconds from one report to the next, such as 5 or 0.5 [default: 1]' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -s c -l count -d 'End after so many reports [default: go on until interrupted]' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l top -d 'Also show the N processes and the N nodes that caused the most requests [default: 0, and 10 with \'--live\']' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l slow -d 'Print a line for each request that took longer, as it ends, in place of reports (\'-i\': both)' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l stuck -d 'Print a line for each request that has waited so long for its answer, in place of reports (\'-i\': both)' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l listen -d 'Serve it over HTTP, at /metrics, in place of printing it [default: 127.0.0.1:9857]' -r
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l once -d 'One report. With \'--stuck\' alone: look once, without waiting'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l histogram -d 'Show the times of each operation as histograms, by powers of two'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l json -d 'Print JSON: one object a line'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l openmetrics -d 'Print OpenMetrics text: counters since the start, with \'# EOF\' after each report'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l live -d 'A view that fills the terminal, with keys'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -l probe -d 'Say what can be measured on this machine, and why not more; then end'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand bpf-stats" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l kill-worker -d 'A storm: kill workers, until the end or N of them' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l kill-supervisor -d 'A storm: kill supervisors, until the end or N of them' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l replay -d 'Run a failed storm again, from the trace it wrote; with \'--trace\' it is made smaller too' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l operation -d 'These operations only: steps as the table has them, or opcodes' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l point -d 'These points only, for the first crash' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l signal -d 'Kill with this signal, such as KILL, SEGV or 9, or with \'random\' ones [default: KILL]' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l every -d 'About so many milliseconds between two deaths' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l duration -d 'End after so many seconds [default: when N processes are killed; 10 without N]' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l seed -d 'What chance begins with; the same seed is the same workload [default: a random one]' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l threads -d 'So many threads use the mount' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l inodes -d 'So many files are made beforehand' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l ops -d 'These kinds of operations only' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l trace -d 'Where a failing storm writes its trace [default: fusex-crash-SEED.json]' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l mount -d 'A storm on this mount, whoever serves it. Its server is killed, and somebody has to start it again; files are made and removed in a directory of the test\'s own' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l pid -d 'The process that serves it' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l pid-command -d 'A shell command that prints its process id; it is run again after each death' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -s t -l type -d 'What to mount; merge, where nothing can be changed, for the matrix alone [default: dir; all for the matrix]' -r -f -a "dir\t'A directory of this machine'
mem\t'Files in memory, gone with the mount'
merge\t'Files made of pieces: see [`pieces`](super::pieces). Nothing can be changed there'"
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -s o -d 'Mount options as for \'fusex mount\'; may be repeated' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l transport -d 'How requests and replies travel: auto, dev or splice [default: auto; dev, and splice for READ and WRITE, for the matrix]' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l report -d 'Also write one HTML page with all of it, such as for a bug report' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l without -d 'Switch a protection off, to see that it is needed' -r
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l list-points -d 'List the points at which \'--matrix\' kills: name, part, what was done last'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l matrix -d 'Every operation crossed with every point, and with pairs of points'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l hang -d 'Let a worker hang: it has to be replaced'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l poison -d 'Send a request that every worker dies of: it has to be answered EIO'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l oom -d 'Let a worker run out of memory, in a memory cgroup'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l core -d 'Let a worker dump core'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l short -d 'A sample of the matrix, in minutes [default: the whole matrix]'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -s s -l single-threaded -d 'Serve with one thread [default: several; both for the matrix]'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l no-resend -d 'Do not ask the kernel to send requests again [default: ask; both for the matrix]'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -l json -d 'One JSON object on stdout in place of the summary'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand crash-test" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand doctor" -l json -d 'Print JSON: schema, and checks with level, what, detail and cure'
complete -c fusex -n "__fish_fusex_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s t -l type -d 'What to mount: dir (a directory), mem (in memory), or merge (files made of pieces, as a manifest says); a number means \'-o max_threads=\' [default: dir]' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l transport -d 'How requests and replies travel' -r -f -a "auto\t'By read(2) and writev(2); data behind descriptors by splice(2) where that was measured to take less CPU time'
dev\t'By read(2) and writev(2) alone'
splice\t'Data behind descriptors by splice(2), however little it is'
uring\t'Over io_uring (Linux 6.14, fuse.enable_uring=Y), in no order between CPUs; needs --no-supervise'"
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s o -d 'Mount options, separated by commas; may be repeated' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l request-timeout -d 'Replace a worker whose request takes longer; 0: never [default: 0; 60 with \'fusex supervise\']' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l poison-after -d 'Answer EIO to a request that so many workers died of; 0: never [default: 3]' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l restart-limit -d 'Give the mount up when so many workers in a row die without finishing a request [default: 30]' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s f -l foreground -d 'Stay in the foreground [default: go to the background once the mount can be used]'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s v -l verbose -d 'Say what is done and what was negotiated with the kernel'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s d -l debug -d 'Log every request; implies --foreground'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s s -l single-threaded -d 'Serve with one thread [default: several, up to \'-o max_threads=\']'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s m -l multi-threaded -d 'Serve with several threads (the default)'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s c -l clone-fd -d 'One /dev/fuse clone a thread (always so with several threads), as \'-o clone_fd\''
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l follow -d 'Serve a caller that is alone on its own CPU, and only while nobody else wants that'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l no-supervise -d 'Serve in one process: the mount ends with it'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l no-resend -d 'Do not ask the kernel to send requests again: recover from the arena alone'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l sandbox -d 'Keep the workers in a mount namespace that has the source only'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l core -d 'Let dead workers leave core dumps, which delays their successors'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l source -d 'Sources [default: all]' -r -f -a "file\t'A file in the page cache'
unix\t'Packets from a unix socket'
tcp\t'Packets from a TCP connection over the loopback device'"
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l size -d 'Sizes of a block, multiples of 4K up to 1M [default: 4K,8K,16K,32K,64K,128K,256K,512K,1M; with \'--quick\' 4K,128K,1M]' -r
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l mode -d 'Ways [default: all]. The plain copy is always measured: the others are compared with it' -r -f -a "copy\t'Read into a buffer that is used again and again, then written'
iovec\t'The same, with header, payload and footer of a packet by one call'
splice\t'By splice(2), through a pipe'
fallback\t'A splice that finds no room in its pipe, and is finished by copying'
passthrough\t'The kernel reads the file below the mount itself (FUSE_PASSTHROUGH)'
uring\t'Copied, with requests and replies over io_uring'"
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l sink -d 'Sinks [default: all]' -r -f -a "null\t'/dev/null'
pipe\t'A pipe that somebody reads'
file\t'A new file'
mount-direct\t'A reader on a FUSE mount, without the page cache'
mount-cached\t'A reader on a FUSE mount, through the page cache, which is empty beforehand'"
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l mount -d 'Also read this file on a FUSE mount, or one that is put into this directory there' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l rounds -d 'Measure each combination so often; figures are medians [default: 5; with \'--quick\' 3]' -r
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l bytes -d 'Move so many bytes in a measurement, such as 64M [default: 16M; with \'--quick\' 2M]' -r
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l pin -d 'Which CPUs server and client run on; a peer runs where the client does' -r -f -a "none\t'Wherever the scheduler likes'
same\t'Both on one CPU'
cross\t'Each on its own CPU'"
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l dir -d 'Where files are made [default: /dev/shm, else the directory for temporary files]' -r -F
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l corrupt -d 'Let the source have a wrong byte at this position, to see that it is found' -r
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l quick -d 'Three sizes, few bytes, done in seconds'
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l json -d 'One JSON object on stdout in place of the table'
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l csv -d 'Comma-separated values, a line for each combination'
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -l chart -d 'Bars in place of the table'
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand splice-bench" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s t -l type -d 'What to mount: dir (a directory), mem (in memory), or merge (files made of pieces, as a manifest says); a number means \'-o max_threads=\' [default: dir]' -r
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l transport -d 'How requests and replies travel' -r -f -a "auto\t'By read(2) and writev(2); data behind descriptors by splice(2) where that was measured to take less CPU time'
dev\t'By read(2) and writev(2) alone'
splice\t'Data behind descriptors by splice(2), however little it is'
uring\t'Over io_uring (Linux 6.14, fuse.enable_uring=Y), in no order between CPUs; needs --no-supervise'"
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s o -d 'Mount options, separated by commas; may be repeated' -r
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l request-timeout -d 'Replace a worker whose request takes longer; 0: never [default: 0; 60 with \'fusex supervise\']' -r
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l poison-after -d 'Answer EIO to a request that so many workers died of; 0: never [default: 3]' -r
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l restart-limit -d 'Give the mount up when so many workers in a row die without finishing a request [default: 30]' -r
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s f -l foreground -d 'Stay in the foreground [default: go to the background once the mount can be used]'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s v -l verbose -d 'Say what is done and what was negotiated with the kernel'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s d -l debug -d 'Log every request; implies --foreground'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s s -l single-threaded -d 'Serve with one thread [default: several, up to \'-o max_threads=\']'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s m -l multi-threaded -d 'Serve with several threads (the default)'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s c -l clone-fd -d 'One /dev/fuse clone a thread (always so with several threads), as \'-o clone_fd\''
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l follow -d 'Serve a caller that is alone on its own CPU, and only while nobody else wants that'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l no-supervise -d 'Serve in one process: the mount ends with it'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l no-resend -d 'Do not ask the kernel to send requests again: recover from the arena alone'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l sandbox -d 'Keep the workers in a mount namespace that has the source only'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -l core -d 'Let dead workers leave core dumps, which delays their successors'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -a "list" -d 'List the supervised mounts of this user'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -a "status" -d 'Show processes, deaths and recovered requests of a mount'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -a "restart" -d 'Replace the worker; callers notice a short pause, and nothing is lost'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -a "upgrade" -d 'Go on with the program as it is installed now; if it cannot, the old one goes on'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -a "stop" -d 'Unmount, and end the processes of the mount'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from list" -l json -d 'As JSON: an array of what \'status --json\' prints'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from status" -l json -d 'As JSON: one object'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from restart" -s h -l help -d 'Print help'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from restart" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from upgrade" -s h -l help -d 'Print help'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from upgrade" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand umount" -s l -l lazy -d 'Take it out of the tree now, even if it is in use; it ends with its last use'
complete -c fusex -n "__fish_fusex_using_subcommand umount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand umount" -s V -l version -d 'Print version'
