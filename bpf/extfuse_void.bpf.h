/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each operation changes, whatever became of it: one that failed may have done a part, and
 * one whose caller was killed may be done by the server later or never.
 *
 * Nodes whose number the request does not say (what an unlinked or overwritten name stood for) come
 * as notices of their own. Reads change the time of access; that alone makes nothing stale.
 */
#pragma once

/* Not in the headers of every system. */
#define OPCODE_TMPFILE 51
#define OPCODE_COPY_FILE_RANGE_64 53

#ifndef O_TRUNC
#define O_TRUNC 01000
#endif

/* A file's data or its attributes, which can be said in extended ones too (POSIX ACLs). */
static __always_inline void void_file(__u64 node)
{
	change(CHANGE_ATTR, node);
	change(CHANGE_XATTRS, node);
	change(CHANGE_ROOM, 0);
}

/* A name in a directory. One that cannot be read was never kept. */
static __noinline void void_entry(struct fuse_bpf_ctx *request, struct room *room, __u32 arg,
				  __u64 directory)
{
	change(CHANGE_ATTR, directory);
	change(CHANGE_ROOM, 0);
	if (!room || !read_name(request, arg, &room->second, directory))
		return;
	set_change(place_of(CHANGE_ENTRY, directory, hash_of(&room->second)), bpf_ktime_get_ns());
}

/* Opened to be cut off; the node of CREATE is the one that it answers. */
static __noinline void void_truncated(struct fuse_bpf_ctx *request)
{
	struct fuse_entry_out out = {};
	struct fuse_open_in in = {};

	if (fuse_bpf_read_in(request, 0, 0, &in, sizeof(in)) == sizeof(in) && !(in.flags & O_TRUNC))
		return;
	if (request->opcode == FUSE_OPEN)
		void_file(request->nodeid);
	else if (fuse_bpf_read_out(request, 0, 0, &out, sizeof(out)) == sizeof(out))
		void_file(out.nodeid);
}

static __noinline void void_copied(struct fuse_bpf_ctx *request)
{
	struct fuse_copy_file_range_in in = {};

	void_file(request->nodeid);
	if (fuse_bpf_read_in(request, 0, 0, &in, sizeof(in)) == sizeof(in))
		void_file(in.nodeid_out);
}

static __noinline void void_notice(struct fuse_bpf_ctx *request, struct room *room)
{
	__u32 mask = 0;

	switch (request->opcode) {
	case FUSE_BPF_INVAL_ATTR:
		fuse_bpf_read_in(request, 0, 0, &mask, sizeof(mask));
		if (mask == FUSE_BPF_ATIME)
			break;
		change(CHANGE_ATTR, request->nodeid);
		change(CHANGE_ROOM, 0);
		break;
	case FUSE_BPF_INVAL_ENTRY:
		void_entry(request, room, 0, request->nodeid);
		break;
	default:
		change(CHANGE_NODE, request->nodeid);
	}
}

/* Whether the operation is one that changes something. */
static __always_inline int void_changed(struct fuse_bpf_ctx *request, struct room *room)
{
	switch (request->opcode) {
	case FUSE_SETATTR:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
	case FUSE_IOCTL:
		void_file(request->nodeid);
		break;
	case FUSE_COPY_FILE_RANGE:
	case OPCODE_COPY_FILE_RANGE_64:
		void_copied(request);
		break;
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_SYMLINK:
		void_entry(request, room, 0, request->nodeid);
		break;
	case FUSE_MKNOD:
	case FUSE_MKDIR:
		void_entry(request, room, 1, request->nodeid);
		break;
	case FUSE_CREATE:
		void_entry(request, room, 1, request->nodeid);
		void_truncated(request);
		break;
	case OPCODE_TMPFILE:
		change(CHANGE_ATTR, request->nodeid);
		break;
	case FUSE_LINK:
		void_entry(request, room, 1, request->nodeid);
		change(CHANGE_ATTR, other_node(request));
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2:
		void_entry(request, room, 1, request->nodeid);
		void_entry(request, room, 2, other_node(request));
		break;
	case FUSE_OPEN:
		void_truncated(request);
		break;
	case FUSE_FORGET:
	case FUSE_BPF_INVAL_ATTR:
	case FUSE_BPF_INVAL_INODE:
	case FUSE_BPF_INVAL_ENTRY:
		void_notice(request, room);
		break;
	default:
		return 0;
	}
	return 1;
}
