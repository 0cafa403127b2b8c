/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fields of kernel structures that the programs read, and no others. Their offsets are found
 * when a program is loaded (CO-RE), so their order and what lies between them mean nothing.
 *
 * A structure with ___ in its name is an other kernel's form of the one before the ___.
 */
#ifndef FUSEX_KERNEL_H
#define FUSEX_KERNEL_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Whole, as arrays of it are walked. */
struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

struct fuse_in_header {
	__u32 len;
	__u32 opcode;
	__u64 unique;
	__u64 nodeid;
	__u32 pid;
};

struct fuse_out_header {
	__u32 len;
	__s32 error;
};

struct pid_namespace {
	unsigned int level;
};

struct fuse_iqueue {
	struct list_head pending;
};

struct fuse_conn {
	__u32 dev;
	struct pid_namespace *pid_ns;
	struct fuse_iqueue iq;
};

struct fuse_mount {
	struct fuse_conn *fc;
};

struct fuse_in_arg {
	unsigned int size;
	const void *value;
};

struct fuse_args {
	__u8 in_numargs;
	struct fuse_in_arg in_args[3];
};

struct fuse_req {
	struct list_head list;
	struct fuse_args *args;
	unsigned long flags;
	struct {
		struct fuse_in_header h;
	} in;
	struct {
		struct fuse_out_header h;
	} out;
	struct fuse_mount *fm;
	/* From 6.14 on, in jiffies. */
	unsigned long create_time;
};

/* Numbers of bits in fuse_req.flags. */
enum fuse_req_flag {
	FR_ISREPLY,
	FR_BACKGROUND,
	FR_FINISHED,
};

struct fuse_pqueue {
	struct list_head *processing;
	struct list_head io;
};

struct fuse_dev {
	struct fuse_conn *fc;
	struct fuse_pqueue pq;
};

/* From 7.2 on a channel stands between a device and its connection. */
struct fuse_chan {
	struct fuse_conn *conn;
	struct fuse_iqueue iq;
};

struct fuse_req___chan {
	struct fuse_chan *chan;
};

struct fuse_dev___chan {
	struct fuse_chan *chan;
};

struct fuse_copy_state {
	struct fuse_req *req;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	__u16 i_mode;
	__u32 i_rdev;
	struct super_block *i_sb;
};

struct fuse_inode {
	struct inode inode;
	__u64 nodeid;
};

struct path {
	void *mnt;
	void *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct files_struct *files;
};

/* struct pt_regs by machine: what a system call was given. */
struct pt_regs___x86 {
	unsigned long di;
	unsigned long si;
	unsigned long orig_ax;
};

struct user_pt_regs___arm64 {
	__u64 regs[31];
};

struct seq_file {
	void *buf;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#endif
