/* SPDX-License-Identifier: GPL-2.0 */
/* The requests under way, and the places where operations are counted. */
#pragma once

#include "arrivals.bpf.h"
#include "stats_maps.bpf.h"

enum {
	FUSE_LOOKUP = 1,
	FUSE_READLINK = 5,
	FUSE_READ = 15,
	FUSE_WRITE = 16,
	FUSE_SETXATTR = 21,
	FUSE_GETXATTR = 22,
	FUSE_LISTXATTR = 23,
	FUSE_INIT = 26,
	FUSE_READDIR = 28,
	FUSE_READDIRPLUS = 44,
};

static __always_inline void lose(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&lost, &kind);

	if (count)
		*count += 1;
}

/* Forgets all that was counted of a connection's predecessor with the same id. */
static long forget_operation(void *map, __u32 *at, __u64 *key, __u32 *dev)
{
	if (*key >> 32 == *dev)
		*key |= OPERATION_DEAD;
	return 0;
}

static long forget_error(void *map, struct error_key *key, void *value, __u32 *dev)
{
	if (key->dev == *dev)
		bpf_map_delete_elem(map, key);
	return 0;
}

static long forget_party(void *map, struct party_key *key, void *value, __u32 *dev)
{
	if (key->dev == *dev)
		bpf_map_delete_elem(map, key);
	return 0;
}

static __noinline int forget(__u32 dev)
{
	bpf_for_each_map_elem(&operation_keys, forget_operation, &dev, 0);
	bpf_for_each_map_elem(&errors, forget_error, &dev, 0);
	bpf_for_each_map_elem(&callers, forget_party, &dev, 0);
	bpf_for_each_map_elem(&nodes, forget_party, &dev, 0);
	return 0;
}

static __noinline int new_connection(__u32 dev)
{
	__u32 first = 1, *generation;

	forget(dev);
	generation = bpf_map_lookup_elem(&generations, &dev);
	if (generation)
		__sync_fetch_and_add(generation, 1);
	else
		bpf_map_update_elem(&generations, &dev, &first, BPF_ANY);
	return 0;
}

static __always_inline __u32 hash(__u64 key)
{
	return key * 0x9e3779b97f4a7c15ULL >> 40;
}

/* Where the operations of a key are counted on this CPU; takes a place for a new key. */
static __always_inline struct operation *operation_of(__u64 key)
{
	__u32 probe, at;
	__u64 *place;

	for (probe = 0; probe < OPERATION_PROBES; probe++) {
		at = (hash(key) + probe) & operations_mask;
		place = bpf_map_lookup_elem(&operation_keys, &at);
		if (!place)
			return NULL;
		if (*place == key)
			return bpf_map_lookup_elem(&operations, &at);
		if (*place == 0) {
			__u64 taken = __sync_val_compare_and_swap(place, 0, key);

			if (!taken || taken == key)
				return bpf_map_lookup_elem(&operations, &at);
		}
	}
	return NULL;
}

/* A request is over without an end: its caller was killed before the server read it. */
static __noinline int unanswered(__u32 dev, __u32 opcode)
{
	struct operation *operation = operation_of(OPERATION_KEY(dev, opcode));

	if (operation)
		operation->unanswered += 1;
	return 0;
}

/*
 * What a request is known by: its distance from a variable of ours, for the verifier lets an
 * address be compared or hashed only after a subtraction.
 */
static __always_inline __u64 name_of(const struct fuse_req *req)
{
	__u64 name = (__u64)req;

	asm volatile("%0 -= %1" : "+r"(name) : "r"(&interval));
	return name;
}

/* The place at `probe` of those that a request can have. */
static __always_inline __u32 place_of(__u64 request, __u32 probe)
{
	return (hash(request) + probe) & (FLIGHTS - 1);
}

/* Takes a place; the one that a request at this address left behind, if there is one. */
static __always_inline struct flight *take_place(__u64 request)
{
	struct flight *flight;
	__u32 probe, at;
	__u64 taken;

#pragma unroll
	for (probe = 0; probe < FLIGHT_PROBES; probe++) {
		at = place_of(request, probe);
		flight = bpf_map_lookup_elem(&flights, &at);
		if (!flight)
			return NULL;
		taken = __sync_val_compare_and_swap(&flight->request, 0, request);
		if (taken && taken != request)
			continue;
		if (taken)
			unanswered(flight->dev, flight->opcode);
		flight->at = at;
		return flight;
	}
	return NULL;
}

static __always_inline struct flight *find_place(__u64 request)
{
	struct flight *flight;
	__u32 probe, at;

#pragma unroll
	for (probe = 0; probe < FLIGHT_PROBES; probe++) {
		at = place_of(request, probe);
		flight = bpf_map_lookup_elem(&flights, &at);
		if (!flight || flight->request == request)
			return flight;
	}
	return NULL;
}

/* The place of a flight's command. */
static __always_inline struct command *command_of(const struct flight *flight)
{
	__u32 at = flight->at;

	return bpf_map_lookup_elem(&commands, &at);
}

static __always_inline int on_send(const struct fuse_req *req)
{
	__u64 who = bpf_get_current_pid_tgid(), request = name_of(req);
	__u32 dev = connection_of(req), opcode = req->in.h.opcode;
	struct command *command;
	struct flight *flight;

	if (opcode == FUSE_INIT)
		new_connection(dev);
	flight = take_place(request);
	if (!flight) {
		lose(LOST_REQUESTS);
		return 0;
	}
	flight->read_ns = 0;
	flight->node = req->in.h.nodeid;
	flight->dev = dev;
	flight->opcode = opcode;
	flight->pid = who >> 32;
	flight->tid = who;
	if (want_commands) {
		command = command_of(flight);
		if (command)
			bpf_get_current_comm(command->name, sizeof(command->name));
	}
	flight->sent_ns = bpf_ktime_get_ns();
	return 0;
}

/*
 * The name that a LOOKUP is about: its first argument that is not empty, for some kernels have an
 * empty one before it.
 */
static __always_inline void copy_name(char *to, const struct fuse_req *req, __u32 opcode)
{
	unsigned int i;

	if (opcode != FUSE_LOOKUP)
		return;
	for (i = 0; i < 3; i++) {
		const void *value = BPF_CORE_READ(req, args, in_args[i].value);
		unsigned int size = BPF_CORE_READ(req, args, in_args[i].size);

		if (value && size) {
			bpf_probe_read_kernel_str(to, NAME_MAX_SHOWN, value);
			return;
		}
	}
}
