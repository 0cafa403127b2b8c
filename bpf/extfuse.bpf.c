// SPDX-License-Identifier: GPL-2.0
/*
 * Answers FUSE requests in the kernel, from maps that hold what the server answered before.
 *
 * `handle` is asked about each request before it is sent, and answers it or passes it up. `done`
 * sees what the server answered: it fills the maps, and notes what was changed. What is good for
 * how long is said by the server and by the mount's policy (`handlers`, `xattr_names`); the maps
 * are pinned, so they outlive the loader and the server.
 *
 * The logic is compiled for user space as well (tests/extfuse), where every operation is tried
 * against every map.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "include/fuse_bpf.h"

#include "extfuse.h"
#include "extfuse_maps.bpf.h"
#include "extfuse_changes.bpf.h"
#include "extfuse_args.bpf.h"
#include "extfuse_answer.bpf.h"
#include "extfuse_learn.bpf.h"
#include "extfuse_void.bpf.h"

char LICENSE[] SEC("license") = "GPL";

static __always_inline int count_answer(__u32 opcode, int result)
{
	struct extfuse_count *count = bpf_map_lookup_elem(&counts, &opcode);

	if (count)
		__sync_fetch_and_add(result == UPCALL ? &count->passed_up : &count->served, 1);
	return result;
}

SEC("struct_ops/handle")
int BPF_PROG(handle, struct fuse_bpf_ctx *request)
{
	struct room *room;
	int result;

	if (!handler_of(request->opcode))
		return count_answer(request->opcode, UPCALL);
	room = take_room();
	if (!room)
		return count_answer(request->opcode, UPCALL);
	result = answer(request, room);
	give_room_back(room);
	return count_answer(request->opcode, result);
}

SEC("struct_ops/done")
void BPF_PROG(done, struct fuse_bpf_ctx *request)
{
	struct room *room = take_room();

	if (!void_changed(request, room)) {
		if (room)
			learn(request, room);
	} else if (!room) {
		/* Names cannot be read without: then anything may have changed. */
		change(CHANGE_ALL, 0);
	}
	if (room)
		give_room_back(room);
}

SEC(".struct_ops.link")
struct fuse_bpf_ops extfuse = {
	.handle = (void *)handle,
	.done = (void *)done,
	.name = "extfuse",
};
