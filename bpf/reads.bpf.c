// SPDX-License-Identifier: GPL-2.0
/*
 * Tells from the server's read system calls when a request was read, where the kernel itself does
 * not: src/bpf/reads.rs says when this is at work.
 */
#include <stdbool.h>

#include <linux/bpf.h>

#include "include/kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "arrivals.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* How many system calls there were while this was at work, and how many that read a request. */
enum call {
	CALL_ANY,
	CALL_READ,
	CALL_KINDS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CALL_KINDS);
	__type(key, __u32);
	__type(value, __u64);
} calls SEC(".maps");

static __always_inline void count_call(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&calls, &kind);

	if (count)
		*count += 1;
}

#define NR_READ 0
#define NR_READV 19
#define FUSE_IN_HEADER 40

struct header_start {
	__u32 len;
	__u32 opcode;
	__u64 unique;
};

SEC("tp_btf/sys_exit")
int BPF_PROG(syscall_read, struct pt_regs___x86 *regs, long ret)
{
	struct task_struct *task;
	struct file **files, *file;
	struct fuse_conn *connection;
	struct header_start header;
	struct arrival *arrival;
	struct fdtable *table;
	const void *from;
	unsigned long nr;
	unsigned int fd;
	__u32 dev;

	/* This is the way of every system call of the machine: the quick answers first. */
	count_call(CALL_ANY);
	if (ret < FUSE_IN_HEADER)
		return 0;
	nr = regs->orig_ax;
	if (nr != NR_READ && nr != NR_READV)
		return 0;
	task = bpf_get_current_task_btf();
	table = task->files->fdt;
	fd = regs->di;
	files = table->fd;
	if (fd >= table->max_fds || bpf_probe_read_kernel(&file, sizeof(file), files + fd))
		return 0;
	if (BPF_CORE_READ(file, f_inode, i_rdev) != FUSE_DEVICE)
		return 0;
	count_call(CALL_READ);
	from = (const void *)regs->si;
	if (nr == NR_READV && bpf_probe_read_user(&from, sizeof(from), from))
		return 0;
	if (bpf_probe_read_user(&header, sizeof(header), from))
		return 0;
	connection = connection_behind(BPF_CORE_READ(file, private_data));
	dev = BPF_CORE_READ(connection, dev);
	header.unique &= ~UNIQUE_RESEND;
	arrival = arrival_at(dev, header.unique);
	if (arrival) {
		arrival->read_ns = bpf_ktime_get_ns();
		arrival->dev = dev;
		arrival->unique = header.unique;
	}
	return 0;
}
