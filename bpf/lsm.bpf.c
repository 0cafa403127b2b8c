// SPDX-License-Identifier: GPL-2.0
/*
 * A program for the security hook of getxattr(2) that allows everything: whether it can be loaded
 * and attached tells what the kernel can do.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("lsm/inode_getxattr")
int BPF_PROG(allow)
{
	return 0;
}
