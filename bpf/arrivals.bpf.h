/* SPDX-License-Identifier: GPL-2.0 */
/* When requests were read, where system calls tell that: reads.bpf.c writes, stats.bpf.c reads. */
#pragma once

#include "include/kernel.h"

#define FUSE_DEVICE (10U << 20 | 229)

/*
 * What the server's read system calls returned: where a number's last bits point to. A later
 * request takes the place of an earlier one with the same bits, which then has no queue time.
 */
#define READS 4096
struct arrival {
	__u64 unique;
	__u64 read_ns;
	__u32 dev;
	__u32 unused;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, READS);
	__type(key, __u32);
	__type(value, struct arrival);
} arrivals SEC(".maps");

static __always_inline __u32 connection_of(const struct fuse_req *req)
{
	if (bpf_core_field_exists(struct fuse_req, fm))
		return req->fm->fc->dev;
	return ((struct fuse_req___chan *)req)->chan->conn->dev;
}

static __always_inline struct fuse_conn *connection_behind(void *private_data)
{
	/* From 6.18 on the lowest bit says something else. */
	struct fuse_dev *device = (void *)((__u64)private_data & ~1ULL);
	struct fuse_chan *channel;

	if (bpf_core_field_exists(struct fuse_dev, fc))
		return BPF_CORE_READ(device, fc);
	channel = BPF_CORE_READ((struct fuse_dev___chan *)device, chan);
	return BPF_CORE_READ(channel, conn);
}

#define UNIQUE_RESEND (1ULL << 63)

static __always_inline struct arrival *arrival_at(__u32 dev, __u64 unique)
{
	/* Numbers are even: bit 0 marks interrupts. */
	__u32 at = ((unique >> 1) + dev * 2654435761U) & (READS - 1);

	return bpf_map_lookup_elem(&arrivals, &at);
}
