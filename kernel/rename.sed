# What the module and a built-in FUSE cannot both have: names of file systems, devices, caches,
# sysfs directories, trace systems, and the number of the device.
s/"fuse"/"fusebpf"/
s/"fuse\(blk\|ctl\|_inode\|_request\)"/"fusebpf\1"/
s/"fuse: "/"fusebpf: "/
s/\(TRACE_SYSTEM\) fuse$/\1 fusebpf/
s/= FUSE_MINOR,/= MISC_DYNAMIC_MINOR,/
/MODULE_ALIAS_MISCDEV(FUSE_MINOR)/d
/MODULE_ALIAS("devname:fuse")/d
