/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Requests answered from the maps, one function an operation. UPCALL where anything is missing.
 *
 * An element of an LRU map can become another key's while it is read. So it is looked up once more
 * after the reading: as long as it is found at the same place, what was read was its key's.
 */
#pragma once

#include <linux/errno.h>

/* The server is asked. */
#define UPCALL (-ENOSYS)

static __always_inline int write_answer(struct fuse_bpf_ctx *request, const void *from, __u32 size)
{
	return fuse_bpf_write_out(request, 0, 0, from, size) < 0 ? UPCALL : 0;
}

/* Copies a node's attributes, if they are good; for how long they are is returned in ns. */
static __noinline int good_attr(__u64 node, struct fuse_attr *attr, __u64 *left)
{
	struct extfuse_attr *kept = bpf_map_lookup_elem(&attr_map, &node);
	__u64 now = bpf_ktime_get_ns();

	if (!kept || !attr || !left || !is_good(&kept->life, now, attr_changed_at(node)))
		return 0;
	*attr = kept->attr;
	*left = left_ns(&kept->life, now);
	return bpf_map_lookup_elem(&attr_map, &node) == kept;
}

static __noinline int answer_getattr(struct fuse_bpf_ctx *request)
{
	struct fuse_attr_out out = {};
	__u64 left = 0;

	if (!good_attr(request->nodeid, &out.attr, &left))
		return UPCALL;
	out.attr_valid = left / 1000000000;
	out.attr_valid_nsec = left % 1000000000;
	return write_answer(request, &out, sizeof(out));
}

static __noinline int answer_lookup(struct fuse_bpf_ctx *request, struct room *room)
{
	struct fuse_entry_out out = {};
	struct extfuse_entry *kept;
	__u64 now, left = 0;

	if (!room || !read_name(request, 0, &room->key, request->nodeid))
		return UPCALL;
	kept = bpf_map_lookup_elem(&entry_map, &room->key);
	if (!kept)
		return UPCALL;
	room->entry = *kept;
	now = bpf_ktime_get_ns();
	if (bpf_map_lookup_elem(&entry_map, &room->key) != kept)
		return UPCALL;
	if (!is_good(&room->entry.life, now, entry_changed_at(&room->key, room->entry.node)))
		return UPCALL;
	if (!room->entry.node)
		return -ENOENT;
	if (!good_attr(room->entry.node, &out.attr, &left))
		return UPCALL;
	out.nodeid = room->entry.node;
	out.generation = room->entry.generation;
	out.attr_valid = left / 1000000000;
	out.attr_valid_nsec = left % 1000000000;
	left = left_ns(&room->entry.life, now);
	out.entry_valid = left / 1000000000;
	out.entry_valid_nsec = left % 1000000000;
	return write_answer(request, &out, sizeof(out));
}

/* The key of GETXATTR's answer; of LISTXATTR's, which has no name, it is the node alone. */
static __noinline int read_xattr_key(struct fuse_bpf_ctx *request, struct room *room)
{
	__u32 *is_kept;

	if (!room)
		return 0;
	if (request->opcode == FUSE_LISTXATTR) {
		__builtin_memset(&room->key, 0, sizeof(room->key));
		room->key.node = request->nodeid;
		return 1;
	}
	if (!read_name(request, 1, &room->key, request->nodeid))
		return 0;
	room->prefix.length = EXTFUSE_NAME * 8;
	__builtin_memcpy(room->prefix.name, room->key.name, EXTFUSE_NAME);
	is_kept = bpf_map_lookup_elem(&xattr_names, &room->prefix);
	return is_kept && *is_kept;
}

static __noinline int answer_xattr(struct fuse_bpf_ctx *request, struct room *room)
{
	struct fuse_getxattr_in in = {};
	struct fuse_getxattr_out out = {};
	struct extfuse_value *kept;
	__u32 size;

	if (fuse_bpf_read_in(request, 0, 0, &in, sizeof(in)) != sizeof(in))
		return UPCALL;
	if (!room || !read_xattr_key(request, room))
		return UPCALL;
	kept = bpf_map_lookup_elem(&xattr_map, &room->key);
	if (!kept || !is_good(&kept->life, bpf_ktime_get_ns(), xattrs_changed_at(request->nodeid)))
		return UPCALL;
	room->value = *kept;
	if (bpf_map_lookup_elem(&xattr_map, &room->key) != kept)
		return UPCALL;
	size = room->value.size;
	if (room->value.error)
		return room->value.error;
	if (!in.size) {
		out.size = size;
		return write_answer(request, &out, sizeof(out));
	}
	if (size > in.size)
		return -ERANGE;
	if (size > EXTFUSE_VALUE)
		return UPCALL;
	return write_answer(request, room->value.bytes, size);
}

/* The key of what is in other_map. */
static __always_inline int other_key(struct fuse_bpf_ctx *request, struct extfuse_other_key *key)
{
	struct fuse_access_in in = {};

	key->opcode = request->opcode;
	if (request->opcode == FUSE_STATFS)
		return 1;
	key->node = request->nodeid;
	if (request->opcode != FUSE_ACCESS)
		return 1;
	/* A process that this mount has no number for could be any. */
	if (!request->pid || fuse_bpf_read_in(request, 0, 0, &in, sizeof(in)) != sizeof(in))
		return 0;
	key->mask = in.mask;
	key->uid = request->uid;
	key->gid = request->gid;
	key->pid = request->pid;
	return 1;
}

static __noinline int answer_other(struct fuse_bpf_ctx *request, struct room *room)
{
	struct extfuse_other_key key = {};
	struct extfuse_value *kept;
	__u64 changed;
	__u32 size;

	if (!room || !other_key(request, &key))
		return UPCALL;
	kept = bpf_map_lookup_elem(&other_map, &key);
	changed = other_changed_at(key.opcode, key.node);
	if (!kept || !is_good(&kept->life, bpf_ktime_get_ns(), changed))
		return UPCALL;
	room->value = *kept;
	if (bpf_map_lookup_elem(&other_map, &key) != kept)
		return UPCALL;
	size = room->value.size;
	if (room->value.error || key.opcode == FUSE_ACCESS)
		return room->value.error;
	if (size > EXTFUSE_VALUE)
		return UPCALL;
	return write_answer(request, room->value.bytes, size);
}

static __always_inline int answer(struct fuse_bpf_ctx *request, struct room *room)
{
	switch (request->opcode) {
	case FUSE_LOOKUP:
		return answer_lookup(request, room);
	case FUSE_GETATTR:
		return answer_getattr(request);
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return answer_xattr(request, room);
	case FUSE_STATFS:
	case FUSE_READLINK:
	case FUSE_ACCESS:
		return answer_other(request, room);
	default:
		return UPCALL;
	}
}
