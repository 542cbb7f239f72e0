// Copies and fills: which way they go, when they read the host's memory, whether the host waits.
#include <cstring>
#include <vector>

#include "api.h"
#include "counters.h"
#include "devices.h"
#include "settings.h"

namespace {

enum CopyKind { host_to_host = 0, host_to_device = 1, device_to_host = 2, device_to_device = 3, by_address = 4 };

struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
    const Block *to_block, *from_block;  // null for pageable host memory

    bool to_device() const { return to_block && to_block->on_device(); }
    bool from_device() const { return from_block && from_block->on_device(); }

    CopyKind kind() const {
        if (to_device()) return from_device() ? device_to_device : host_to_device;
        return from_device() ? device_to_host : host_to_host;
    }
    bool fits() const {
        return (!to_block || std::uintptr_t(to) + bytes <= to_block->end()) &&
               (!from_block || std::uintptr_t(from) + bytes <= from_block->end());
    }
    DeviceSet touches() const {
        return (to_device() ? only(to_block->device) : 0) | (from_device() ? only(from_block->device) : 0);
    }
};

void count(const Copy& copy) {
    static const char* const names[] = {"host to host", "host to device", "device to host", "device to device"};
    log_line("copy %zu bytes %s", copy.bytes, names[copy.kind()]);
    switch (copy.kind()) {
        case host_to_device: ++counters.h2d, counters.h2d_bytes += copy.bytes; break;
        case device_to_host: ++counters.d2h, counters.d2h_bytes += copy.bytes; break;
        case device_to_device: ++counters.d2d, counters.d2d_bytes += copy.bytes; break;
        default: break;
    }
}

// A pageable source is staged before the call returns: its owner may change it at once (unless FAKEHIP_LATE_PAGEABLE says
// that the device reads it itself). A pinned one is read when the stream gets there, so changing it too early is a race,
// and FAKEHIP_LAZY shows it.
void submit_copy(Stream& stream, const Copy& copy) {
    void* to = copy.to;
    const std::size_t bytes = copy.bytes;
    if (copy.from_block || settings().late_pageable) {
        const void* from = copy.from;
        stream.submit_work(copy.touches(), [=] { memmove(to, from, bytes); });
    } else {
        const auto bytes_of_source = (const char*)copy.from;
        const auto staged = std::make_shared<std::vector<char>>(bytes_of_source, bytes_of_source + bytes);
        stream.submit_work(copy.touches(), [=] { memcpy(to, staged->data(), bytes); });
    }
}

Error run_copy(void* to, const void* from, std::size_t bytes, CopyKind kind, void* handle, bool host_waits) {
    if (bytes == 0) return success;
    if (unusable()) return report(unusable());
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    const Copy copy{to, from, bytes, find_block(to), find_block(from)};
    if ((kind != by_address && kind != copy.kind()) || !copy.fits()) return report(invalid_value);
    if (host_waits && stream->capture) return report(capture_unsupported);
    count(copy);
    submit_copy(*stream, copy);
    if (host_waits && copy.kind() != device_to_device) {
        ++counters.syncs;
        stream->run_all();
    }
    // A download into pageable memory comes back only when it is done. CuPy synchronises after it anyway, and that is
    // what is counted.
    const bool into_pageable = !copy.to_block && !stream->capture;
    if (into_pageable) stream->run_all();
    return success;
}

Error run_peer_copy(void* to, int to_device, const void* from, int from_device, std::size_t bytes, void* handle) {
    const Block *to_block = find_block(to), *from_block = find_block(from);
    if (!to_block || !from_block || to_block->device != to_device || from_block->device != from_device)
        return report(invalid_value);
    return run_copy(to, from, bytes, device_to_device, handle, false);
}

Error run_fill(void* address, int value, std::size_t bytes, void* handle) {
    if (unusable()) return report(unusable());
    const auto stream = find_stream(handle);
    const Block* block = find_block(address);
    if (!stream) return report(invalid_handle);
    if (!block || std::uintptr_t(address) + bytes > block->end()) return report(invalid_value);
    ++counters.memsets;
    stream->submit_work(only(block->device), [=] { memset(address, value, bytes); });
    return success;
}

}  // namespace

FAKEHIP_API Error hipMemcpy(void* to, const void* from, std::size_t bytes, CopyKind kind) {
    Lock lock;
    return run_copy(to, from, bytes, kind, nullptr, true);
}
FAKEHIP_API Error hipMemcpyAsync(void* to, const void* from, std::size_t bytes, CopyKind kind, void* stream) {
    Lock lock;
    return run_copy(to, from, bytes, kind, stream, false);
}
FAKEHIP_API Error hipMemcpyPeer(void* to, int to_device, const void* from, int from_device, std::size_t bytes) {
    Lock lock;
    return run_peer_copy(to, to_device, from, from_device, bytes, nullptr);
}
FAKEHIP_API Error hipMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, std::size_t bytes,
                                     void* stream) {
    Lock lock;
    return run_peer_copy(to, to_device, from, from_device, bytes, stream);
}
FAKEHIP_API Error hipMemset(void* address, int value, std::size_t bytes) {
    Lock lock;
    return run_fill(address, value, bytes, nullptr);
}
FAKEHIP_API Error hipMemsetAsync(void* address, int value, std::size_t bytes, void* stream) {
    Lock lock;
    return run_fill(address, value, bytes, stream);
}
