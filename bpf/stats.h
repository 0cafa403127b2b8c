/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What stats.bpf.c and src/bpf/layout.rs share. All numbers are the machine's own; structures
 * have no holes.
 */
#ifndef FUSEX_STATS_H
#define FUSEX_STATS_H

#include <linux/types.h>

/* Four buckets to a power of two, from 2^8 ns to 2^38 ns: src/stats/histogram.rs. */
#define FLOOR_BITS 8
#define OCTAVES 30
#define BUCKETS (1 + OCTAVES * 4)

struct times {
	__u64 sum_ns;
	/* The greatest of an interval, in the slot of its number's last bit. */
	__u64 max_ns[2];
	__u32 interval[2];
	__u64 buckets[BUCKETS];
};

/* How many pairs of a connection and an operation there is room for, at the least. */
#define OPERATIONS_MIN 512
/* At how many places each is looked for: rarely more than at the first. */
#define OPERATION_PROBES 64
/* Never 0. */
#define OPERATION_KEY(dev, opcode) ((__u64)(dev) << 32 | ((opcode) + 1))
/* The connection is gone. Its id has 20 bits. */
#define OPERATION_DEAD (1ULL << 63)

/* Per CPU. */
struct operation {
	__u64 count;
	__u64 bytes;
	/* Who answered last, and when. */
	__u64 answered_ns;
	__u32 server;
	/* How many were never answered. */
	__u32 unanswered;
	struct times queue;
	struct times service;
	struct times total;
};

struct error_key {
	__u32 dev;
	__u32 opcode;
	/* Positive. */
	__u32 error;
};

/* How many requests can be under way, a power of two, and at how many places each is looked for. */
#define FLIGHTS 16384
#define FLIGHT_PROBES 8

/* A request that was sent and has not ended. */
struct flight {
	/* Its address in the kernel; 0 for a free place. */
	__u64 request;
	__u64 sent_ns;
	/* 0: not read by the server, as far as that is seen. */
	__u64 read_ns;
	__u64 node;
	__u32 dev;
	__u32 opcode;
	__u32 pid;
	__u32 tid;
	/* The place's own number. */
	__u32 at;
	__u32 unused[3];
};

struct command {
	char name[16];
};

struct party_key {
	/* A process or a node. */
	__u64 id;
	__u32 dev;
	__u32 unused;
};

struct party {
	__u64 count;
	__u64 total_ns;
	struct command command;
};

#define NAME_MAX_SHOWN 64

/* A request that was slow. */
struct slow {
	__u64 unique;
	__u64 at_ns;
	__u64 total_ns;
	/* 0: not known. */
	__u64 queue_ns;
	__u64 node;
	__u32 dev;
	__u32 opcode;
	__u32 pid;
	__u32 tid;
	__s32 error;
	__u32 unused;
	struct command command;
	char name[NAME_MAX_SHOWN];
};

/* Arguments of drop_request: a place as it was seen. */
struct drop {
	__u64 request;
	__u64 sent_ns;
	__u32 at;
	__u32 unused;
};

/* Indices into the map of what was lost. */
enum lost {
	LOST_OPERATIONS,
	LOST_REQUESTS,
	LOST_EARLIER,
	LOST_EVENTS,
	LOST_KINDS,
};

/* What the look at open files writes, one after the other. */
enum seen_kind {
	SEEN_SERVER = 1,
	SEEN_REQUEST = 2,
	SEEN_FILE = 3,
};

#define PATH_MAX_SHOWN 256

struct seen {
	__u32 kind;
	__u32 dev;
	/* SERVER and FILE: process and thread; REQUEST: the thread as the server sees it, twice. */
	__u32 pid;
	__u32 tid;
	/* REQUEST only. */
	__u64 request;
	__u64 unique;
	/* REQUEST and FILE. */
	__u64 node;
	/* REQUEST: age in the kernel's ticks, or all ones when it is not known. */
	__u64 age_ticks;
	__u32 opcode;
	/* REQUEST: whether the server has read it. */
	__u32 read;
	/* SERVER: the process's name; REQUEST: a name that it is about; FILE: its path. */
	char text[PATH_MAX_SHOWN];
};

#endif
