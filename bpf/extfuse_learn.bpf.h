/* SPDX-License-Identifier: GPL-2.0 */
/* The maps filled from the server's answers, one function an operation. */
#pragma once

static __always_inline int has_time(const struct extfuse_life *life)
{
	return life->expires > life->since;
}

/* The generation is another one where the server has given the number to another node. */
static __noinline void learn_attr(struct fuse_bpf_ctx *request, struct room *room, __u64 node,
				  __u64 generation, __u64 valid_ns)
{
	struct extfuse_handler *handler = handler_of(FUSE_GETATTR);
	int is_known = request->opcode == FUSE_LOOKUP;
	struct extfuse_attr *kept;

	if (!room)
		return;
	kept = bpf_map_lookup_elem(&attr_map, &node);
	if (is_known && kept && kept->is_known && kept->generation != generation)
		set_change(place_of(CHANGE_NODE, node, 0), room->now);
	if (!handler)
		return;
	set_life(&room->attr.life, room->now, valid_ns, handler->ttl_ns);
	if (!has_time(&room->attr.life))
		return;
	room->attr.is_known = is_known || (kept && kept->is_known);
	room->attr.generation = is_known || !kept ? generation : kept->generation;
	bpf_map_update_elem(&attr_map, &node, &room->attr, BPF_ANY);
}

static __noinline void learn_getattr(struct fuse_bpf_ctx *request, struct room *room)
{
	struct fuse_attr_out out = {};

	if (!room || request->error || fuse_bpf_read_out(request, 0, 0, &out, sizeof(out)) != sizeof(out))
		return;
	room->attr.attr = out.attr;
	learn_attr(request, room, request->nodeid, 0, nanoseconds(out.attr_valid, out.attr_valid_nsec));
}

/* What a name stands for: a node, or with `out->nodeid` 0 nothing. */
static __noinline void learn_entry(struct fuse_bpf_ctx *request, struct room *room,
				   const struct fuse_entry_out *out)
{
	struct extfuse_handler *handler = handler_of(FUSE_LOOKUP);
	__u64 valid_ns;

	if (!room || !out || !handler)
		return;
	if (!read_name(request, 0, &room->key, request->nodeid) || is_dots(&room->key))
		return;
	valid_ns = nanoseconds(out->entry_valid, out->entry_valid_nsec);
	set_life(&room->entry.life, room->now, valid_ns,
		 out->nodeid ? handler->ttl_ns : handler->negative_ttl_ns);
	if (!has_time(&room->entry.life))
		return;
	room->entry.node = out->nodeid;
	room->entry.generation = out->generation;
	bpf_map_update_elem(&entry_map, &room->key, &room->entry, BPF_ANY);
}

static __noinline void learn_lookup(struct fuse_bpf_ctx *request, struct room *room)
{
	struct fuse_entry_out out = {};

	if (!room || (request->error && request->error != -ENOENT))
		return;
	if (!request->error) {
		if (fuse_bpf_read_out(request, 0, 0, &out, sizeof(out)) != sizeof(out))
			return;
		if (out.nodeid) {
			room->attr.attr = out.attr;
			learn_attr(request, room, out.nodeid, out.generation,
				   nanoseconds(out.attr_valid, out.attr_valid_nsec));
		}
	}
	learn_entry(request, room, &out);
}

/* Reads a value that was answered into room->value; 0 where it is none that is kept. */
static __noinline int read_value(struct fuse_bpf_ctx *request, struct room *room)
{
	int size;

	if (!room)
		return 0;
	__builtin_memset(&room->value, 0, sizeof(room->value));
	size = fuse_bpf_out_size(request, 0);
	if (size < 0)
		return 0;
	room->value.size = size;
	/* One that is too large is not read to its end. */
	return !size ||
	       fuse_bpf_read_out(request, 0, 0, room->value.bytes, EXTFUSE_VALUE) == size;
}

static __noinline void learn_xattr(struct fuse_bpf_ctx *request, struct room *room)
{
	struct extfuse_handler *handler = handler_of(request->opcode);
	struct fuse_getxattr_in in = {};
	__u64 ttl_ns;

	if (!room || !handler || (request->error && request->error != -ENODATA))
		return;
	if (fuse_bpf_read_in(request, 0, 0, &in, sizeof(in)) != sizeof(in))
		return;
	/* Asked for the size alone, the server did not say the value. */
	if (!request->error && (!in.size || !read_value(request, room)))
		return;
	if (!read_xattr_key(request, room))
		return;
	if (request->error)
		room->value.size = 0;
	room->value.error = request->error;
	ttl_ns = request->error ? handler->negative_ttl_ns : handler->ttl_ns;
	set_life(&room->value.life, room->now, 0, ttl_ns);
	if (has_time(&room->value.life))
		bpf_map_update_elem(&xattr_map, &room->key, &room->value, BPF_ANY);
}

static __noinline void learn_other(struct fuse_bpf_ctx *request, struct room *room)
{
	struct extfuse_handler *handler = handler_of(request->opcode);
	struct extfuse_other_key key = {};
	int is_refused = request->opcode == FUSE_ACCESS && request->error == -EACCES;

	if (!room || !handler || (request->error && !is_refused) || !other_key(request, &key))
		return;
	if (request->opcode != FUSE_ACCESS && !read_value(request, room))
		return;
	if (request->opcode == FUSE_ACCESS)
		room->value.size = 0;
	room->value.error = request->error;
	set_life(&room->value.life, room->now, 0,
		 request->error ? handler->negative_ttl_ns : handler->ttl_ns);
	if (has_time(&room->value.life))
		bpf_map_update_elem(&other_map, &key, &room->value, BPF_ANY);
}

static __always_inline void learn(struct fuse_bpf_ctx *request, struct room *room)
{
	if (request->raced)
		return;
	room->now = bpf_ktime_get_ns();
	switch (request->opcode) {
	case FUSE_LOOKUP:
		learn_lookup(request, room);
		break;
	case FUSE_GETATTR:
		learn_getattr(request, room);
		break;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		learn_xattr(request, room);
		break;
	case FUSE_STATFS:
	case FUSE_READLINK:
	case FUSE_ACCESS:
		learn_other(request, room);
		break;
	}
}
