/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What extfuse.bpf.c and src/bpf/extfuse share. All numbers are the machine's own; structures have
 * no holes; times are ns of CLOCK_MONOTONIC.
 */
#ifndef FUSEX_EXTFUSE_H
#define FUSEX_EXTFUSE_H

#include <linux/fuse.h>
#include <linux/types.h>

/* A name with its NUL, padded with zeros. Longer ones are not kept. */
#define EXTFUSE_NAME 256
/* Bytes of a value (of an extended attribute, of a symbolic link) that are kept at the most. */
#define EXTFUSE_VALUE 256
/* Higher opcodes are passed up and not counted. */
#define EXTFUSE_OPCODES 64

/* How long an answer may be given, as the first fields of every answer that is kept. */
struct extfuse_life {
	/* When it was learned. */
	__u64 since;
	__u64 expires;
	/* How long the server said that it is valid. */
	__u64 valid_ns;
};

struct extfuse_name_key {
	/* The directory; in xattr_map the node. */
	__u64 node;
	char name[EXTFUSE_NAME];
};

/* entry_map: what a name in a directory stands for. */
struct extfuse_entry {
	struct extfuse_life life;
	/* 0: there is no such name. */
	__u64 node;
	__u64 generation;
};

/* attr_map, by node. */
struct extfuse_attr {
	struct extfuse_life life;
	__u64 generation;
	/* Whether the generation is known: a LOOKUP says it, a GETATTR does not. */
	__u64 is_known;
	struct fuse_attr attr;
};

/* xattr_map and other_map. */
struct extfuse_value {
	struct extfuse_life life;
	/* 0 or -errno. */
	__s32 error;
	__u32 size;
	char bytes[EXTFUSE_VALUE];
};

/* other_map: the other operations' answers; what does not matter is 0. */
struct extfuse_other_key {
	__u64 node;
	__u32 opcode;
	/* ACCESS: what was asked for, and who asked. */
	__u32 mask;
	__u32 uid;
	__u32 gid;
	__u32 pid;
	__u32 unused;
};

/* A time to live: as long as the server says. */
#define EXTFUSE_AS_SERVED (~0ULL)

/* handlers, by opcode: the mount's policy. */
struct extfuse_handler {
	__u64 ttl_ns;
	/* For names and attributes that are not there. */
	__u64 negative_ttl_ns;
	/* 0: always passed up. */
	__u64 is_on;
};

/* xattr_names: which ones are kept, as prefixes; a whole name ends with its NUL. */
struct extfuse_prefix {
	/* In bits. */
	__u32 length;
	char name[EXTFUSE_NAME];
};

/* counts, by opcode and CPU. */
struct extfuse_count {
	__u64 served;
	__u64 passed_up;
};

/*
 * changes: when something was last changed. The first places are for what has one place for the
 * whole mount, the others are shared by all that have the same hash.
 */
#define EXTFUSE_CHANGES 16384

enum extfuse_change {
	/* Everything. */
	CHANGE_ALL,
	/* How much room is left. */
	CHANGE_ROOM,
	CHANGE_WHOLE_MOUNT = 8,
	/* From here on of one node, or of one name in it. */
	CHANGE_ATTR = CHANGE_WHOLE_MOUNT,
	CHANGE_XATTRS,
	/* All that is known about it, and about the names in it. */
	CHANGE_NODE,
	CHANGE_ENTRY,
};

#endif
