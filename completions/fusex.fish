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
complete -c fusex -n "__fish_fusex_needs_command" -f -a "mount" -d 'Mount a directory, or a file system in memory'
complete -c fusex -n "__fish_fusex_needs_command" -f -a "umount" -d 'Take a FUSE mount away'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s t -l type -d 'What to mount: dir (a directory) or mem (in memory); a number means \'-o max_threads=\' [default: dir]' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s o -d 'Mount options, separated by commas; may be repeated' -r
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s f -l foreground -d 'Stay in the foreground [default: go to the background once the mount can be used]'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s v -l verbose -d 'Say what is done and what was negotiated with the kernel'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s d -l debug -d 'Log every request; implies --foreground'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s s -l single-threaded -d 'Serve with one thread [default: several, up to \'-o max_threads=\']'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s m -l multi-threaded -d 'Serve with several threads (the default)'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s c -l clone-fd -d 'One /dev/fuse clone a thread (always so with several threads), as \'-o clone_fd\''
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand mount" -s V -l version -d 'Print version'
complete -c fusex -n "__fish_fusex_using_subcommand umount" -s l -l lazy -d 'Take it out of the tree now, even if it is in use; it ends with its last use'
complete -c fusex -n "__fish_fusex_using_subcommand umount" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fusex -n "__fish_fusex_using_subcommand umount" -s V -l version -d 'Print version'
