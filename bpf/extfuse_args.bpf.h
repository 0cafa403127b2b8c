/* SPDX-License-Identifier: GPL-2.0 */
/* Names and numbers out of a request's arguments. */
#pragma once

/* Reads the name in an argument; 0 where that is none that is kept. */
static __noinline int read_name(struct fuse_bpf_ctx *request, __u32 arg,
				struct extfuse_name_key *key, __u64 node)
{
	__u32 last;
	int size;

	if (!key)
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	key->node = node;
	size = fuse_bpf_read_in(request, arg, 0, key->name, EXTFUSE_NAME);
	if (size < 2 || size > EXTFUSE_NAME)
		return 0;
	last = size - 1;
	/* The verifier has to see the limit. */
	asm volatile("" : "+r"(last));
	return !key->name[last & (EXTFUSE_NAME - 1)];
}

/* "." and ".." say nothing about a directory's own names. */
static __always_inline int is_dots(const struct extfuse_name_key *key)
{
	return key->name[0] == '.' &&
	       (!key->name[1] || (key->name[1] == '.' && !key->name[2]));
}

/* The first eight bytes of the header: the other node of RENAME, RENAME2 and LINK. */
static __always_inline __u64 other_node(struct fuse_bpf_ctx *request)
{
	__u64 node = 0;

	return fuse_bpf_read_in(request, 0, 0, &node, sizeof(node)) == sizeof(node) ? node : 0;
}

static __always_inline __u64 nanoseconds(__u64 seconds, __u32 ns)
{
	/* Past that it would not fit; nobody waits for it. */
	return seconds >= 1ULL << 32 ? ~0ULL >> 1 : seconds * 1000000000ULL + ns;
}

/* What is left of the time that the server has given. */
static __always_inline __u64 left_ns(const struct extfuse_life *life, __u64 now)
{
	__u64 left = life->expires > now ? life->expires - now : 0;

	return left < life->valid_ns ? left : life->valid_ns;
}

static __always_inline void set_life(struct extfuse_life *life, __u64 now, __u64 valid_ns,
				     __u64 ttl_ns)
{
	__u64 ttl = ttl_ns == EXTFUSE_AS_SERVED ? valid_ns : ttl_ns;

	life->since = now;
	life->valid_ns = valid_ns;
	life->expires = ttl > ~0ULL - now ? ~0ULL : now + ttl;
}
