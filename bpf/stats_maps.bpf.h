/* SPDX-License-Identifier: GPL-2.0 */
/* Settings and maps of stats.bpf.c. */
#pragma once

/* From which total time on a request is told of; none when 0. */
const volatile __u64 slow_ns = 0;
/* How many places for operations there are, less one: all ones in binary. */
const volatile __u32 operations_mask = OPERATIONS_MIN - 1;
/* Whether the server's read system calls tell when a request was read. */
const volatile bool split_by_syscall = false;
/* Whether processes and nodes are counted. */
const volatile bool want_top = false;

/* The names of processes are needed only then: what is under way can be asked for its own. */
#define want_commands (want_top || slow_ns)

/* The number of the interval that maxima are kept for. */
__u32 interval = 0;

/*
 * The requests under way: an open hash table by the request's address, as a hash map's update and
 * deletion cost more than all the rest. A place is taken by a compare-and-swap of its request and
 * given back by a store of 0; who has it is the only one to write the rest.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLIGHTS);
	__type(key, __u32);
	__type(value, struct flight);
} flights SEC(".maps");

/* Their names, where they are asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLIGHTS);
	__type(key, __u32);
	__type(value, struct command);
} commands SEC(".maps");

/*
 * What is counted at which place of `operations`: an open hash table by operation_key, for the
 * same reason. A place that is not needed any more is marked OPERATION_DEAD, and made ready for
 * the next one from outside, which alone can write what other CPUs counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OPERATIONS_MIN);
	__type(key, __u32);
	__type(value, __u64);
} operation_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OPERATIONS_MIN);
	__type(key, __u32);
	__type(value, struct operation);
} operations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct error_key);
	__type(value, __u64);
} errors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct party_key);
	__type(value, struct party);
} callers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct party_key);
	__type(value, struct party);
} nodes SEC(".maps");

/* How often a connection with this id was begun. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} generations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOST_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} slow_requests SEC(".maps");
