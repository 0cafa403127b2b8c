// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs that tests/kernel_vm.rs tries the kernel's side with: they keep entries, attributes
 * and extended attributes without any limit of time, drop what they are told to, and misbehave on
 * demand. Names are short.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <linux/stat.h>

#define SEC(name) __attribute__((section(name), used))
#define __ksym __attribute__((section(".ksyms")))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;

#include "fuse_bpf.h"

#define NAME 32
#define VALUE 64

struct name {
	__u64 nodeid;
	char name[NAME];
};

struct value {
	/* A negative one is an error. */
	__s32 size;
	char data[VALUE];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name);
	__type(value, struct fuse_entry_out);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct fuse_attr_out);
} attrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name);
	__type(value, struct value);
} xattrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct value);
} links SEC(".maps");

/* How to misbehave, see `enum mode`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} mode SEC(".maps");

enum mode {
	WELL,
	/* The end of the attributes is missing. */
	SHORT,
	/* Another type, or generation, of file. */
	TYPE,
	GENERATION,
	/* A node that the kernel does not have. */
	DEAD,
	/* What is no error. */
	NO_ERROR,
	TOO_FAR,
	/* An answer to what only the server can do. */
	OPENED,
	/* -EPERM for GETATTR and UNLINK. */
	REFUSE,
	/* Always ask the server. */
	UPCALL,
};

/* How often `done` saw what: by opcode, then raced answers, FUSE_BPF_INVAL_ATTR, INODE and ENTRY. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 132);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&seen, &what);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

static __u32 get_mode(void)
{
	__u32 zero = 0, *value = bpf_map_lookup_elem(&mode, &zero);

	return value ? *value : WELL;
}

static int read_name(struct fuse_bpf_ctx *ctx, __u32 arg, struct name *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->nodeid = ctx->nodeid;
	if (fuse_bpf_in_size(ctx, arg) > NAME)
		return -ENOSYS;
	return fuse_bpf_read_in(ctx, arg, 0, key->name, NAME) < 0 ? -ENOSYS : 0;
}

static int answer_lookup(struct fuse_bpf_ctx *ctx, __u32 how)
{
	struct fuse_entry_out *found, out;
	struct fuse_attr_out *attr;
	struct name key;

	if (read_name(ctx, 0, &key))
		return -ENOSYS;
	found = bpf_map_lookup_elem(&entries, &key);
	if (!found)
		return -ENOSYS;
	out = *found;
	if (out.nodeid) {
		/* Those of the entry may be older, and they become the inode's. */
		attr = bpf_map_lookup_elem(&attrs, &out.nodeid);
		if (!attr)
			return -ENOSYS;
		out.attr = attr->attr;
	}
	if (how == DEAD)
		out.nodeid += 1000000;
	if (how == GENERATION)
		out.generation++;
	if (how == TYPE)
		out.attr.mode = 0020644;
	return fuse_bpf_write_out(ctx, 0, 0, &out, sizeof(out)) ? -ENOSYS : 0;
}

static int answer_getattr(struct fuse_bpf_ctx *ctx, __u32 how)
{
	__u64 nodeid = ctx->nodeid;
	struct fuse_attr_out *found, out;

	found = bpf_map_lookup_elem(&attrs, &nodeid);
	if (!found)
		return -ENOSYS;
	out = *found;
	if (how == TYPE)
		out.attr.mode = 0020644;
	/* In two pieces. */
	if (fuse_bpf_write_out(ctx, 0, 0, &out, 16))
		return -ENOSYS;
	/* A gap is refused. */
	if (!fuse_bpf_write_out(ctx, 0, 18, &out, 2))
		return -EIO;
	if (how == SHORT)
		return fuse_bpf_write_out(ctx, 0, 16, (char *)&out + 16, sizeof(out) - 20);
	return fuse_bpf_write_out(ctx, 0, 16, (char *)&out + 16, sizeof(out) - 16) ? -ENOSYS : 0;
}

static int answer_getxattr(struct fuse_bpf_ctx *ctx)
{
	struct fuse_getxattr_in in = {};
	struct fuse_getxattr_out out = {};
	struct value *found;
	struct name key;
	__u32 size;

	if (read_name(ctx, 1, &key))
		return -ENOSYS;
	found = bpf_map_lookup_elem(&xattrs, &key);
	if (!found || fuse_bpf_read_in(ctx, 0, 0, &in, sizeof(in)) != sizeof(in))
		return -ENOSYS;
	if (found->size < 0)
		return found->size;
	size = found->size;
	if (size > VALUE)
		return -ENOSYS;
	if (in.size == 0) {
		out.size = size;
		return fuse_bpf_write_out(ctx, 0, 0, &out, sizeof(out)) ? -ENOSYS : 0;
	}
	if (in.size < size)
		return -ERANGE;
	return fuse_bpf_write_out(ctx, 0, 0, found->data, size) ? -ENOSYS : 0;
}

static int answer_readlink(struct fuse_bpf_ctx *ctx)
{
	__u64 nodeid = ctx->nodeid;
	struct value *found = bpf_map_lookup_elem(&links, &nodeid);
	__u32 size;

	if (!found)
		return -ENOSYS;
	size = found->size;
	if (size > VALUE)
		return -ENOSYS;
	return fuse_bpf_write_out(ctx, 0, 0, found->data, size) ? -ENOSYS : 0;
}

SEC("struct_ops/handle")
int handle(unsigned long long *args)
{
	struct fuse_bpf_ctx *ctx = (void *)args[0];
	__u32 how = get_mode(), none;

	/* Only an answer can be read. */
	if (fuse_bpf_read_out(ctx, 0, 0, &none, sizeof(none)) != -EPERM)
		return -EIO;
	if (how == UPCALL)
		return -ENOSYS;
	if (how == NO_ERROR)
		return 7;
	if (how == TOO_FAR)
		return -4000;
	if (how == REFUSE && (ctx->opcode == FUSE_GETATTR || ctx->opcode == FUSE_UNLINK))
		return -EPERM;
	switch (ctx->opcode) {
	case FUSE_LOOKUP:
		return answer_lookup(ctx, how);
	case FUSE_GETATTR:
		return answer_getattr(ctx, how);
	case FUSE_GETXATTR:
		return answer_getxattr(ctx);
	case FUSE_READLINK:
		return answer_readlink(ctx);
	case FUSE_OPEN:
		if (how == OPENED) {
			struct fuse_open_out out = {};

			return fuse_bpf_write_out(ctx, 0, 0, &out, sizeof(out));
		}
	}
	return -ENOSYS;
}

static void keep_lookup(struct fuse_bpf_ctx *ctx)
{
	struct fuse_entry_out out = {};
	struct fuse_attr_out attr = {};
	struct name key;

	if (read_name(ctx, 0, &key) || (ctx->error && ctx->error != -ENOENT))
		return;
	if (!ctx->error) {
		if (fuse_bpf_read_out(ctx, 0, 0, &out, sizeof(out)) != sizeof(out))
			return;
		attr.attr = out.attr;
		bpf_map_update_elem(&attrs, &out.nodeid, &attr, BPF_ANY);
	}
	bpf_map_update_elem(&entries, &key, &out, BPF_ANY);
}

static void keep_getattr(struct fuse_bpf_ctx *ctx)
{
	__u64 nodeid = ctx->nodeid;
	struct fuse_attr_out out;

	if (!ctx->error && fuse_bpf_read_out(ctx, 0, 0, &out, sizeof(out)) == sizeof(out))
		bpf_map_update_elem(&attrs, &nodeid, &out, BPF_ANY);
}

static void keep_getxattr(struct fuse_bpf_ctx *ctx)
{
	struct fuse_getxattr_in in = {};
	struct value value = {};
	struct name key;

	if (read_name(ctx, 1, &key) || (ctx->error && ctx->error != -ENODATA))
		return;
	value.size = ctx->error;
	if (!ctx->error) {
		fuse_bpf_read_in(ctx, 0, 0, &in, sizeof(in));
		if (!in.size || fuse_bpf_out_size(ctx, 0) > VALUE)
			return;
		value.size = fuse_bpf_read_out(ctx, 0, 0, value.data, VALUE);
	}
	bpf_map_update_elem(&xattrs, &key, &value, BPF_ANY);
}

static void keep_readlink(struct fuse_bpf_ctx *ctx)
{
	__u64 nodeid = ctx->nodeid;
	struct value value = {};

	if (ctx->error || fuse_bpf_out_size(ctx, 0) > VALUE)
		return;
	value.size = fuse_bpf_read_out(ctx, 0, 0, value.data, VALUE);
	bpf_map_update_elem(&links, &nodeid, &value, BPF_ANY);
}

static void keep(struct fuse_bpf_ctx *ctx)
{
	switch (ctx->opcode) {
	case FUSE_LOOKUP:
		return keep_lookup(ctx);
	case FUSE_GETATTR:
		return keep_getattr(ctx);
	case FUSE_GETXATTR:
		return keep_getxattr(ctx);
	case FUSE_READLINK:
		return keep_readlink(ctx);
	}
}

static void drop_name(struct fuse_bpf_ctx *ctx, __u32 arg, __u64 parent)
{
	struct name key;

	if (read_name(ctx, arg, &key))
		return;
	key.nodeid = parent;
	bpf_map_delete_elem(&entries, &key);
}

static void drop(struct fuse_bpf_ctx *ctx)
{
	__u64 nodeid = ctx->nodeid, other = 0;
	struct name key;
	__u32 mask = 0;

	switch (ctx->opcode) {
	case FUSE_SYMLINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_BPF_INVAL_ENTRY:
		return drop_name(ctx, 0, nodeid);
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
		return drop_name(ctx, 1, nodeid);
	case FUSE_LINK:
		fuse_bpf_read_in(ctx, 0, 0, &other, sizeof(other));
		bpf_map_delete_elem(&attrs, &other);
		return drop_name(ctx, 1, nodeid);
	case FUSE_RENAME:
	case FUSE_RENAME2:
		fuse_bpf_read_in(ctx, 0, 0, &other, sizeof(other));
		drop_name(ctx, 1, nodeid);
		return drop_name(ctx, 2, other);
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
		if (!read_name(ctx, ctx->opcode == FUSE_SETXATTR ? 1 : 0, &key))
			bpf_map_delete_elem(&xattrs, &key);
		return;
	case FUSE_BPF_INVAL_ATTR:
		fuse_bpf_read_in(ctx, 0, 0, &mask, sizeof(mask));
		/* When something was read last is of no interest. */
		if (mask == STATX_ATIME)
			return;
		/* Fall through. */
	case FUSE_SETATTR:
	case FUSE_WRITE:
	case FUSE_FORGET:
	case FUSE_BPF_INVAL_INODE:
		bpf_map_delete_elem(&attrs, &nodeid);
	}
}

SEC("struct_ops/done")
void done(unsigned long long *args)
{
	struct fuse_bpf_ctx *ctx = (void *)args[0];
	__u32 how = 0;

	/* It is too late to write. */
	if (fuse_bpf_write_out(ctx, 0, 0, &how, 0) != -EPERM)
		return;
	count(ctx->opcode < 128 ? ctx->opcode : ctx->opcode - FUSE_BPF_INVAL_ATTR + 129);
	drop(ctx);
	if (get_mode() == UPCALL)
		return;
	if (!ctx->raced)
		keep(ctx);
	else if (ctx->opcode == FUSE_LOOKUP || ctx->opcode == FUSE_GETATTR)
		count(128);
}

SEC(".struct_ops.link")
struct fuse_bpf_ops answers = {
	.handle = (void *)handle,
	.done = (void *)done,
	.name = "answers",
};

char _license[] SEC("license") = "GPL";
