/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What was changed when. An answer is good if it was learned after the last change of what it is
 * about; the kernel tells of answers that a change has overtaken (`raced`), and those are not
 * learned. So nothing has to be searched for and deleted when something changes.
 *
 * Things that share a place are taken for changed together: that costs a request, no truth.
 */
#pragma once

/* The place of a change. `of` is 0, or the hash of a name. */
static __always_inline __u32 place_of(__u32 change, __u64 node, __u64 of)
{
	__u64 hash = (node + of) * 0x9e3779b97f4a7c15ULL + change * 0xc2b2ae3d27d4eb4fULL;

	if (change < CHANGE_WHOLE_MOUNT)
		return change;
	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL;
	return CHANGE_WHOLE_MOUNT + (hash >> 32) % (EXTFUSE_CHANGES - CHANGE_WHOLE_MOUNT);
}

static __always_inline __u64 changed_at(__u32 change, __u64 node, __u64 of)
{
	__u32 place = place_of(change, node, of);
	__u64 *at = bpf_map_lookup_elem(&changes, &place);

	return at ? *at : ~0ULL;
}

static __always_inline __u64 later(__u64 one, __u64 other)
{
	return one > other ? one : other;
}

/* Never goes back, though two may be at it. */
static __always_inline void set_change(__u32 place, __u64 now)
{
	__u64 *at = bpf_map_lookup_elem(&changes, &place);

	for (int tries = 0; at && tries < 64; tries++) {
		__u64 before = *at;

		if (before >= now || __sync_val_compare_and_swap(at, before, now) == before)
			return;
	}
}

static __always_inline void change(__u32 what, __u64 node)
{
	set_change(place_of(what, node, 0), bpf_ktime_get_ns());
}

/* The name is padded with zeros, so all of it can be taken by words. */
static __always_inline __u64 hash_of(const struct extfuse_name_key *key)
{
	const __u64 *words = (const __u64 *)key->name;
	__u64 hash = key->node;

	for (int word = 0; word < EXTFUSE_NAME / 8; word++)
		hash = (hash ^ words[word]) * 0x100000001b3ULL ^ hash >> 29;
	return hash;
}

/* The last change of what a name in a directory stands for. */
static __noinline __u64 entry_changed_at(const struct extfuse_name_key *key, __u64 node)
{
	__u64 at;

	if (!key)
		return ~0ULL;
	at = later(changed_at(CHANGE_ALL, 0, 0), changed_at(CHANGE_NODE, key->node, 0));
	if (node)
		at = later(at, changed_at(CHANGE_NODE, node, 0));
	return later(at, changed_at(CHANGE_ENTRY, key->node, hash_of(key)));
}

static __noinline __u64 attr_changed_at(__u64 node)
{
	return later(changed_at(CHANGE_ALL, 0, 0),
		     later(changed_at(CHANGE_NODE, node, 0), changed_at(CHANGE_ATTR, node, 0)));
}

static __noinline __u64 xattrs_changed_at(__u64 node)
{
	return later(changed_at(CHANGE_ALL, 0, 0),
		     later(changed_at(CHANGE_NODE, node, 0), changed_at(CHANGE_XATTRS, node, 0)));
}

static __noinline __u64 other_changed_at(__u32 opcode, __u64 node)
{
	switch (opcode) {
	case FUSE_STATFS:
		return later(changed_at(CHANGE_ALL, 0, 0), changed_at(CHANGE_ROOM, 0, 0));
	case FUSE_ACCESS:
		return later(attr_changed_at(node), xattrs_changed_at(node));
	default:
		/* A link's target stays as long as the node. */
		return later(changed_at(CHANGE_ALL, 0, 0), changed_at(CHANGE_NODE, node, 0));
	}
}

static __always_inline int is_good(const struct extfuse_life *life, __u64 now, __u64 changed)
{
	return now < life->expires && life->since >= changed;
}
