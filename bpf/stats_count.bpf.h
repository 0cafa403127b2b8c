/* SPDX-License-Identifier: GPL-2.0 */
/* What happens when a request ends. */
#pragma once

#include "stats_flights.bpf.h"

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 octave = 0, bucket;
	__u64 rest = ns;

	if (rest >> 32) { octave += 32; rest >>= 32; }
	if (rest >> 16) { octave += 16; rest >>= 16; }
	if (rest >> 8) { octave += 8; rest >>= 8; }
	if (rest >> 4) { octave += 4; rest >>= 4; }
	if (rest >> 2) { octave += 2; rest >>= 2; }
	if (rest >> 1) { octave += 1; }
	if (octave < FLOOR_BITS)
		return 0;
	bucket = 1 + (octave - FLOOR_BITS) * 4 + ((ns >> (octave - 2)) & 3);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static __always_inline void add_time(struct times *times, __u64 ns)
{
	__u32 now = interval, slot = now & 1, bucket = bucket_of(ns);

	times->sum_ns += ns;
	if (times->interval[slot] != now) {
		times->interval[slot] = now;
		times->max_ns[slot] = 0;
	}
	if (ns > times->max_ns[slot])
		times->max_ns[slot] = ns;
	if (bucket < BUCKETS)
		times->buckets[bucket] += 1;
}

/* Headers with what comes before the data. */
#define OUT_HEADER 16
#define WRITE_HEADER 80

/* The bytes of data that a request moved: what src/stats calls bytes. */
static __always_inline __u64 bytes_of(const struct fuse_req *req, __u32 opcode)
{
	__u32 in = req->in.h.len, out = req->out.h.len, size;

	switch (opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_READLINK:
		return out > OUT_HEADER ? out - OUT_HEADER : 0;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		/* The size itself is no data: asked for with a size of 0. */
		if (bpf_probe_read_kernel(&size, sizeof(size), req->args->in_args[0].value) ||
		    !size)
			return 0;
		return out > OUT_HEADER ? out - OUT_HEADER : 0;
	case FUSE_SETXATTR:
		return req->args->in_args[2].size;
	case FUSE_WRITE:
		return in > WRITE_HEADER ? in - WRITE_HEADER : 0;
	default:
		return 0;
	}
}

static __always_inline void count_error(__u32 dev, __u32 opcode, __s32 error)
{
	struct error_key key = { .dev = dev, .opcode = opcode, .error = -error };
	__u64 none = 0, *count;

	count = bpf_map_lookup_elem(&errors, &key);
	if (!count) {
		bpf_map_update_elem(&errors, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&errors, &key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		lose(LOST_OPERATIONS);
}

static __always_inline void count_party(void *map, __u32 dev, __u64 id, __u64 total,
					const struct command *command)
{
	struct party_key key = { .dev = dev, .id = id };
	struct party first = {}, *party;

	party = bpf_map_lookup_elem(map, &key);
	if (!party) {
		if (command)
			first.command = *command;
		bpf_map_update_elem(map, &key, &first, BPF_NOEXIST);
		party = bpf_map_lookup_elem(map, &key);
	}
	if (party) {
		__sync_fetch_and_add(&party->count, 1);
		__sync_fetch_and_add(&party->total_ns, total);
	}
}

static __always_inline void tell(const struct fuse_req *req, const struct flight *flight,
				 __u64 unique, __u64 now, __u64 read_ns)
{
	struct slow *slow = bpf_ringbuf_reserve(&slow_requests, sizeof(*slow), 0);
	struct command *command;

	if (!slow) {
		lose(LOST_EVENTS);
		return;
	}
	__builtin_memset(slow, 0, sizeof(*slow));
	slow->unique = unique;
	slow->at_ns = now;
	slow->total_ns = now - flight->sent_ns;
	slow->queue_ns = read_ns ? read_ns - flight->sent_ns : 0;
	slow->node = flight->node;
	slow->dev = flight->dev;
	slow->opcode = flight->opcode;
	slow->pid = flight->pid;
	slow->tid = flight->tid;
	slow->error = req->out.h.error;
	command = command_of(flight);
	if (command)
		slow->command = *command;
	copy_name(slow->name, req, flight->opcode);
	bpf_ringbuf_submit(slow, 0);
}

static __always_inline int on_end(const struct fuse_req *req)
{
	__u64 now = bpf_ktime_get_ns(), total, unique;
	__s32 error = req->out.h.error;
	struct operation *operation;
	struct flight *flight;
	struct arrival *arrival;
	__u64 read_ns;

	flight = find_place(name_of(req));
	if (!flight) {
		lose(LOST_EARLIER);
		return 0;
	}
	total = now - flight->sent_ns;
	unique = req->in.h.unique & ~UNIQUE_RESEND;
	read_ns = flight->read_ns;
	if (split_by_syscall && !read_ns) {
		arrival = arrival_at(flight->dev, unique);
		if (arrival && arrival->unique == unique && arrival->dev == flight->dev)
			read_ns = arrival->read_ns;
	}
	if (read_ns < flight->sent_ns || read_ns > now)
		read_ns = 0;

	operation = operation_of(OPERATION_KEY(flight->dev, flight->opcode));
	if (operation) {
		operation->count += 1;
		operation->bytes += bytes_of(req, flight->opcode);
		operation->answered_ns = now;
		operation->server = bpf_get_current_pid_tgid() >> 32;
		add_time(&operation->total, total);
		if (read_ns) {
			add_time(&operation->queue, read_ns - flight->sent_ns);
			add_time(&operation->service, now - read_ns);
		}
	} else {
		lose(LOST_OPERATIONS);
	}
	if (error < 0)
		count_error(flight->dev, flight->opcode, error);
	if (want_top) {
		count_party(&callers, flight->dev, flight->pid, total, command_of(flight));
		count_party(&nodes, flight->dev, flight->node, total, NULL);
	}
	if (slow_ns && total >= slow_ns)
		tell(req, flight, unique, now, read_ns);
	flight->request = 0;
	return 0;
}
