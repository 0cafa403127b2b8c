/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's side of answering FUSE requests by BPF: what kernel/ adds to fs/fuse. No kernel's
 * headers have it, so it is written down here; fields and functions are found by their names when
 * the programs are loaded.
 */
#ifndef FUSEX_FUSE_BPF_H
#define FUSEX_FUSE_BPF_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* A request, as a program sees it. Read only. */
struct fuse_bpf_ctx {
	__u64 nodeid;
	/* The operation, or in done one of fuse_bpf_notice. */
	__u32 opcode;
	__u32 uid;
	__u32 gid;
	__u32 pid;
	/* In done: how it ended, 0 or -errno. */
	__s32 error;
	/*
	 * In done: the node, or the one that LOOKUP found, was changed since the request began. One
	 * done of a connection runs at a time, so nothing can come between this and the maps.
	 */
	__u32 raced;
};

#pragma clang attribute pop

/* What is no request. Besides these: FUSE_FORGET, when the kernel lets go of a node. */
enum fuse_bpf_notice {
	/* The node's attributes are stale: a file was written by FUSE_PASSTHROUGH, unlinked, ... */
	FUSE_BPF_INVAL_ATTR = 0x80000000,
	/* The server says that all about the node is stale. */
	FUSE_BPF_INVAL_INODE,
	/* The server says that a name in the directory is stale. */
	FUSE_BPF_INVAL_ENTRY,
};

/* The first argument of FUSE_BPF_INVAL_ATTR when only the time of access is stale. */
#define FUSE_BPF_ATIME 0x20

/* Not for CO-RE: libbpf makes the kernel's form of it by the names of its members. */
struct fuse_bpf_ops {
	/* -ENOSYS: the server is asked; 0: answered; another -errno: that is the answer. */
	int (*handle)(struct fuse_bpf_ctx *request);
	/* The server has answered, or the kernel gives notice. */
	void (*done)(struct fuse_bpf_ctx *request);
	/* The one that is served. */
	__u32 connection;
	__u32 flags;
	char name[16];
};

/* Sizes of arguments; -errno where there is no such argument. */
extern int fuse_bpf_in_size(const struct fuse_bpf_ctx *request, __u32 arg) __ksym;
extern int fuse_bpf_out_size(const struct fuse_bpf_ctx *request, __u32 arg) __ksym;
/* Copy what there is, at most to__sz bytes, and return how many that were. */
extern int fuse_bpf_read_in(const struct fuse_bpf_ctx *request, __u32 arg, __u32 offset,
			    void *to, __u32 to__sz) __ksym;
extern int fuse_bpf_read_out(const struct fuse_bpf_ctx *request, __u32 arg, __u32 offset,
			     void *to, __u32 to__sz) __ksym;
/* In handle only. It sets the size of a last argument whose size can vary. */
extern int fuse_bpf_write_out(struct fuse_bpf_ctx *request, __u32 arg, __u32 offset,
			      const void *from, __u32 from__sz) __ksym;

#endif
