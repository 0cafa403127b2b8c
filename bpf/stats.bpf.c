// SPDX-License-Identifier: GPL-2.0
/*
 * Counts and times every request of every FUSE connection, and tells of slow ones.
 *
 * A request is known by the address of the kernel's fuse_req: its number (unique) is given to it
 * after fuse_request_send up to Linux 7.1, and an address is one request's from its sending to its
 * end. Nothing here waits or takes a lock; what is counted per request is counted per CPU.
 */
#include <stdbool.h>

#include <linux/bpf.h>

#include "include/kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "stats.h"
#include "stats_count.bpf.h"
#include "stats_files.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* The request, or its name, has been read by the server. */
static __always_inline int on_read(__u64 request)
{
	struct flight *flight = find_place(request);

	if (flight)
		flight->read_ns = bpf_ktime_get_ns();
	return 0;
}

/* Linux 6.12 and later. */

SEC("tp_btf/fuse_request_send")
int BPF_PROG(tracepoint_send, const struct fuse_req *req)
{
	return on_send(req);
}

SEC("tp_btf/fuse_request_sent")
int BPF_PROG(tracepoint_sent, const struct fuse_req *req)
{
	return on_read(name_of(req));
}

SEC("tp_btf/fuse_request_end")
int BPF_PROG(tracepoint_end, const struct fuse_req *req)
{
	return on_end(req);
}

/* Earlier ones. The request's number has been set, its length not yet. */

SEC("fentry/queue_request_and_unlock")
int BPF_PROG(function_send, struct fuse_iqueue *queue, struct fuse_req *req)
{
	return on_send(req);
}

SEC("fentry/fuse_request_end")
int BPF_PROG(function_end, struct fuse_req *req)
{
	/* An abort and a reply can both come here: the second finds the request finished. */
	if (req->flags & 1UL << bpf_core_enum_value(enum fuse_req_flag, FR_FINISHED))
		return 0;
	return on_end(req);
}

SEC("fexit/fuse_dev_do_read")
int BPF_PROG(function_read, struct fuse_dev *device, struct file *file, struct fuse_copy_state *cs,
	     unsigned long size, long ret)
{
	/* None for FORGET and INTERRUPT. It may be over by now: only its address is used. */
	struct fuse_req *req = cs->req;

	if (ret <= 0 || !req)
		return 0;
	return on_read(name_of(req));
}

/*
 * What user space asks for. It cannot do it by itself: between its look at a place and its write
 * the place can have become another request's.
 */

/* A request whose caller is gone and that nobody will answer. */
SEC("syscall")
int drop_request(struct drop *drop)
{
	__u32 at = drop->at & (FLIGHTS - 1), dev, opcode;
	struct flight *flight = bpf_map_lookup_elem(&flights, &at);

	if (!flight || flight->sent_ns != drop->sent_ns)
		return 0;
	dev = flight->dev;
	opcode = flight->opcode;
	if (__sync_val_compare_and_swap(&flight->request, drop->request, 0) == drop->request)
		unanswered(dev, opcode);
	return 0;
}

/* A connection that is gone. */
SEC("syscall")
int drop_connection(__u32 *dev)
{
	__u32 gone = *dev;

	return forget(gone);
}
