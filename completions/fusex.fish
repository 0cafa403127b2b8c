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
complete -c fusex -n "__fish_fusex_needs_command" -f -a "doctor" -d 'Look at what this machine can and cannot do'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "mount" -d 'Mount a directory, or a file system in memory'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "supervise" -d 'Mount and stay in the foreground as a service, or talk to the supervisor of a mount'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "umount" -d 'Take a FUSE mount away'
complete -c fusex -n "__fish_fusex_using_subcommand doctor" -l json -d 'Print JSON: schema, and checks with level, what, detail and cure'
complete -c fusex -n "__fish_fusex_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s t -l type -d 'What to mount: dir (a directory) or mem (in memory); a number means \'-o max_threads=\' [default: dir]' -r
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
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l no-supervise -d 'Serve in one process: the mount ends with it'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l no-resend -d 'Do not ask the kernel to send requests again: recover from the arena alone'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l sandbox -d 'Keep the workers in a mount namespace that has the source only'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -l core -d 'Let dead workers leave core dumps, which delays their successors'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand supervise; and not __fish_seen_subcommand_from list status restart upgrade stop" -s t -l type -d 'What to mount: dir (a directory) or mem (in memory); a number means \'-o max_threads=\' [default: dir]' -r
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
