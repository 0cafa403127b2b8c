/* SPDX-License-Identifier: GPL-2.0 */
/* Maps of extfuse.bpf.c, and the room to work in. The loader sets the sizes of the LRU ones. */
#pragma once

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct extfuse_name_key);
	__type(value, struct extfuse_entry);
} entry_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct extfuse_attr);
} attr_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct extfuse_name_key);
	__type(value, struct extfuse_value);
} xattr_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct extfuse_other_key);
	__type(value, struct extfuse_value);
} other_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXTFUSE_OPCODES);
	__type(key, __u32);
	__type(value, struct extfuse_handler);
} handlers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct extfuse_prefix);
	__type(value, __u32);
} xattr_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EXTFUSE_OPCODES);
	__type(key, __u32);
	__type(value, struct extfuse_count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXTFUSE_CHANGES);
	__type(key, __u32);
	__type(value, __u64);
} changes SEC(".maps");

/*
 * Room for keys and values, which are too large for the stack. Programs can be preempted, so a
 * room per CPU would not do: each is taken by a compare-and-swap, and given back.
 */
#define ROOMS 64
#define ROOM_PROBES 16

struct room {
	__u32 is_taken;
	__u32 unused;
	struct extfuse_name_key key;
	struct extfuse_name_key second;
	struct extfuse_prefix prefix;
	__u32 unused_too;
	/* When the answer came. */
	__u64 now;
	struct extfuse_entry entry;
	struct extfuse_attr attr;
	struct extfuse_value value;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROOMS);
	__type(key, __u32);
	__type(value, struct room);
} rooms SEC(".maps");

static __always_inline struct room *take_room(void)
{
	__u32 first = bpf_get_smp_processor_id() * ROOM_PROBES;

	for (__u32 probe = 0; probe < ROOM_PROBES; probe++) {
		__u32 at = (first + probe) & (ROOMS - 1);
		struct room *room = bpf_map_lookup_elem(&rooms, &at);

		if (room && !__sync_val_compare_and_swap(&room->is_taken, 0, 1))
			return room;
	}
	return 0;
}

static __always_inline void give_room_back(struct room *room)
{
	__sync_val_compare_and_swap(&room->is_taken, 1, 0);
}

static __always_inline struct extfuse_handler *handler_of(__u32 opcode)
{
	struct extfuse_handler *handler = bpf_map_lookup_elem(&handlers, &opcode);

	return handler && handler->is_on ? handler : 0;
}
