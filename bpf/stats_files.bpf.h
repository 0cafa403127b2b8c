/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A look at all open files of the machine: who serves which connection, which requests are under
 * way on it (those that were sent before the measurement began, too), and the paths of files.
 *
 * The lists of requests are walked without the kernel's locks. A list can change under the walk:
 * it then ends early or goes on in another one, so all that is told is taken as what it is, a
 * hint, and the walk is bounded. Nothing is written to the kernel's memory.
 */
#pragma once

#include "stats_flights.bpf.h"

#define FUSE_SUPER_MAGIC 0x65735546
/* Lists of a device's requests by number. */
#define PROCESSING_LISTS 256
/* What is told of one file must fit into the reader's buffer, 8 pages. */
#define REQUESTS_MAX 96
#define NOT_KNOWN (~0ULL)

/* What is looked for besides servers; set before each look. */
bool want_requests = false;
bool want_paths = false;

/* How many more requests of this file can be told of. One look is made at a time. */
static __u32 requests_left = 0;

/* What is written: too much for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} scratch SEC(".maps");

/* The connection of what may be no request at all. */
static __always_inline struct fuse_conn *connection_read(struct fuse_req *req)
{
	struct fuse_mount *mount;
	struct fuse_chan *channel;

	if (bpf_core_field_exists(struct fuse_req, fm)) {
		mount = BPF_CORE_READ(req, fm);
		return BPF_CORE_READ(mount, fc);
	}
	channel = BPF_CORE_READ((struct fuse_req___chan *)req, chan);
	return BPF_CORE_READ(channel, conn);
}

struct walk {
	struct seq_file *to;
	struct fuse_conn *connection;
	struct list_head *head;
	struct list_head *entry;
	__u32 dev;
	__u32 read;
};

/* One request of a list. */
static long see_request(__u32 index, struct walk *walk)
{
	struct fuse_req *req = (void *)walk->entry;
	struct seen *seen;
	__u64 created;
	__u32 zero = 0;

	seen = bpf_map_lookup_elem(&scratch, &zero);
	if (!seen || !req || walk->entry == walk->head || !requests_left)
		return 1;
	/* Else the list has changed, and this is something else or another list's head. */
	if (connection_read(req) != walk->connection)
		return 1;
	__builtin_memset(seen, 0, sizeof(*seen));
	seen->kind = SEEN_REQUEST;
	seen->dev = walk->dev;
	seen->read = walk->read;
	/* As name_of() does it, for an address that is a plain number to the verifier. */
	seen->request = (__u64)&interval;
	barrier_var(seen);
	seen->request = (__u64)req - seen->request;
	seen->unique = BPF_CORE_READ(req, in.h.unique) & ~UNIQUE_RESEND;
	seen->node = BPF_CORE_READ(req, in.h.nodeid);
	seen->opcode = BPF_CORE_READ(req, in.h.opcode);
	seen->tid = BPF_CORE_READ(req, in.h.pid);
	seen->age_ticks = NOT_KNOWN;
	if (bpf_core_field_exists(struct fuse_req, create_time)) {
		created = BPF_CORE_READ(req, create_time);
		seen->age_ticks = bpf_jiffies64() - created;
	}
	copy_name(seen->text, req, seen->opcode);
	bpf_seq_write(walk->to, seen, sizeof(*seen));
	requests_left -= 1;
	walk->entry = BPF_CORE_READ(req, list.next);
	return 0;
}

static __always_inline void see_list(struct walk *walk, struct list_head *head)
{
	walk->head = head;
	walk->entry = BPF_CORE_READ(head, next);
	if (walk->entry != head)
		bpf_loop(REQUESTS_MAX, see_request, walk, 0);
}

struct lists {
	struct walk walk;
	struct list_head *first;
};

static long see_processing(__u32 index, struct lists *lists)
{
	see_list(&lists->walk, lists->first + index);
	return 0;
}

/* The input queue of a connection: what the server has not read. */
static __always_inline struct list_head *pending_of(struct fuse_dev *device)
{
	struct fuse_chan *channel;
	struct fuse_conn *connection;

	if (bpf_core_field_exists(struct fuse_dev, fc)) {
		connection = BPF_CORE_READ(device, fc);
		return &connection->iq.pending;
	}
	channel = BPF_CORE_READ((struct fuse_dev___chan *)device, chan);
	return &channel->iq.pending;
}

static __always_inline void see_server(struct seq_file *to, struct seen *seen, void *private_data)
{
	struct fuse_conn *connection = connection_behind(private_data);
	struct fuse_dev *device = (void *)((__u64)private_data & ~1ULL);
	struct lists lists = { .walk = { .to = to, .connection = connection } };

	/* A device that is not mounted has none. */
	if (!connection)
		return;
	requests_left = REQUESTS_MAX;
	lists.walk.dev = BPF_CORE_READ(connection, dev);
	seen->dev = lists.walk.dev;
	seen->kind = SEEN_SERVER;
	bpf_seq_write(to, seen, sizeof(*seen));
	if (!want_requests)
		return;
	see_list(&lists.walk, pending_of(device));
	lists.walk.read = 1;
	see_list(&lists.walk, &device->pq.io);
	lists.first = BPF_CORE_READ(device, pq.processing);
	bpf_loop(PROCESSING_LISTS, see_processing, &lists, 0);
}

SEC("iter/task_file")
int open_files(struct bpf_iter__task_file *ctx)
{
	struct seq_file *to = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct super_block *super;
	struct inode *inode;
	struct seen *seen;
	__u32 zero = 0;

	if (!task || !file)
		return 0;
	inode = file->f_inode;
	seen = bpf_map_lookup_elem(&scratch, &zero);
	if (!inode || !seen)
		return 0;
	super = inode->i_sb;
	if (inode->i_rdev != FUSE_DEVICE && !(want_paths && super->s_magic == FUSE_SUPER_MAGIC))
		return 0;
	__builtin_memset(seen, 0, sizeof(*seen));
	seen->pid = task->tgid;
	seen->tid = task->pid;
	if (inode->i_rdev == FUSE_DEVICE) {
		BPF_CORE_READ_STR_INTO(&seen->text, task, comm);
		see_server(to, seen, file->private_data);
	} else {
		seen->kind = SEEN_FILE;
		seen->dev = super->s_dev;
		seen->node = BPF_CORE_READ((struct fuse_inode *)inode, nodeid);
		bpf_d_path(&file->f_path, seen->text, sizeof(seen->text));
		bpf_seq_write(to, seen, sizeof(*seen));
	}
	return 0;
}
