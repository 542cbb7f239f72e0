#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "api.h"
#include "counters.h"
#include "devices.h"
#include "settings.h"

namespace {

constexpr std::size_t granularity = 512;  // as cudaMalloc aligns
constexpr std::size_t page = 4096;

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Every block of every device, and pinned memory, by address.
std::map<std::uintptr_t, Block>& blocks() {
    static auto& all = *new std::map<std::uintptr_t, Block>;
    return all;
}

std::uintptr_t map_pages(std::size_t bytes, int protection) {
    void* start = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? 0 : std::uintptr_t(start);
}

}  // namespace

const Block* find_block(const void* address) {
    auto after = blocks().upper_bound(std::uintptr_t(address));
    if (after == blocks().begin()) return nullptr;
    const Block& block = std::prev(after)->second;
    return std::uintptr_t(address) < block.end() ? &block : nullptr;
}

void register_module_variable(void* address, std::size_t bytes, int device) {
    const auto start = std::uintptr_t(address);
    blocks()[start] = {start, bytes, MemoryKind::module_variable, device};
}

// ---- Arena

Arena::Arena(std::size_t limit) : limit_(limit) {
    capacity_ = std::max<std::size_t>(round_up(limit, page), 64ull << 30);  // addresses only, room for a higher limit
    base_ = touched_ = map_pages(capacity_, PROT_NONE);
    if (!base_) {
        fprintf(stderr, "fakehip: cannot reserve %zu bytes of addresses\n", std::size_t(capacity_));
        abort();
    }
}

std::uintptr_t Arena::find_gap(std::size_t bytes) const {
    std::uintptr_t candidate = base_;
    for (auto it = blocks().lower_bound(base_); it != blocks().end() && it->first < base_ + capacity_; ++it) {
        if (it->first - candidate >= bytes) break;
        candidate = it->first + round_up(it->second.bytes, granularity);
    }
    return candidate + bytes <= base_ + capacity_ ? candidate : 0;
}

void Arena::grow_to(std::uintptr_t end) {
    touched_ = std::max(touched_, base_ + round_up(end - base_, page));
}

void* Arena::allocate(std::size_t bytes, MemoryKind kind, int device) {
    const std::size_t rounded = round_up(std::max<std::size_t>(bytes, 1), granularity);
    if (rounded > limit_ || used_ > limit_ - rounded) return nullptr;
    const std::uintptr_t start = find_gap(rounded);
    if (!start) return nullptr;
    grow_to(start + rounded);
    used_ += rounded;
    blocks()[start] = {start, bytes, kind, device};
    set_accessible(true);
    memset((void*)start, 0xFF, rounded);  // NaN as a float, -1 as an integer: reading fresh memory shows
    set_accessible(!settings().protect);
    return (void*)start;
}

void Arena::release(const Block& block) {
    const std::size_t rounded = round_up(std::max<std::size_t>(block.bytes, 1), granularity);
    used_ -= rounded;
    const std::uintptr_t first_page = round_up(block.start, page), last_page = (block.start + rounded) / page * page;
    if (first_page < last_page) madvise((void*)first_page, last_page - first_page, MADV_DONTNEED);
    blocks().erase(block.start);
}

void Arena::set_accessible(bool accessible) {
    if (touched_ > base_) mprotect((void*)base_, touched_ - base_, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// ---- MemoryWindow

MemoryWindow::MemoryWindow(DeviceSet devices) : devices_(settings().protect ? devices : 0) {
    for (int d = 0; devices_ >> d; ++d)
        if (devices_ & only(d)) device_at(d).arena.set_accessible(true);
}

MemoryWindow::~MemoryWindow() {
    for (int d = 0; devices_ >> d; ++d)
        if (devices_ & only(d)) device_at(d).arena.set_accessible(false);
}

// ---- allocation

static Error allocate_on_current_device(void** address, std::size_t bytes, MemoryKind kind) {
    Lock lock;
    Device& device = current_device();
    *address = nullptr;
    if (unusable()) return report(unusable());
    if (a_capture_is_open(device)) return report(capture_unsupported);
    *address = device.arena.allocate(bytes, kind, device.number);
    if (!*address) return report(out_of_memory);
    ++counters.mallocs;
    counters.malloc_bytes += bytes;
    log_line("malloc %zu bytes on device %d", bytes, device.number);
    return success;
}

FAKEHIP_API Error hipMalloc(void** address, std::size_t bytes) {
    return allocate_on_current_device(address, bytes, MemoryKind::device);
}

// Managed memory lies in the arena too, so under FAKEHIP_PROTECT the host cannot touch it; CuPy uses it only on request.
FAKEHIP_API Error hipMallocManaged(void** address, std::size_t bytes, unsigned) {
    return allocate_on_current_device(address, bytes, MemoryKind::managed);
}

FAKEHIP_API Error hipFree(void* address) {
    if (!address) return success;
    Lock lock;
    const auto found = blocks().find(std::uintptr_t(address));
    if (found == blocks().end() || found->second.kind == MemoryKind::pinned) return report(invalid_value);
    synchronize_all_devices();  // cudaFree waits for the device; not counted, since it is not asked for
    ++counters.frees;
    device_at(found->second.device).arena.release(Block(found->second));
    return success;
}

static std::size_t pinned_used = 0, pinned_limit = 0;  // 0: FAKEHIP_PINNED

FAKEHIP_API Error hipHostMalloc(void** address, std::size_t bytes, unsigned) {
    Lock lock;
    *address = nullptr;
    const std::size_t limit = pinned_limit ? pinned_limit : settings().pinned_memory;
    if (bytes > limit || pinned_used > limit - bytes) return report(out_of_memory);
    const std::uintptr_t start = map_pages(round_up(std::max<std::size_t>(bytes, 1), page), PROT_READ | PROT_WRITE);
    *address = (void*)start;
    if (!start) return report(out_of_memory);
    pinned_used += bytes;
    ++counters.pinned_mallocs;
    counters.pinned_malloc_bytes += bytes;
    blocks()[start] = {start, bytes, MemoryKind::pinned, current_device().number};
    return success;
}

FAKEHIP_API Error hipHostFree(void* address) {
    if (!address) return success;
    Lock lock;
    const auto found = blocks().find(std::uintptr_t(address));
    if (found == blocks().end() || found->second.kind != MemoryKind::pinned) return report(invalid_value);
    synchronize_all_devices();  // a late copy may still read it
    pinned_used -= found->second.bytes;
    munmap(address, round_up(std::max<std::size_t>(found->second.bytes, 1), page));
    blocks().erase(found);
    return success;
}

// ---- questions about memory

FAKEHIP_API Error hipMemGetInfo(std::size_t* free, std::size_t* total) {
    Lock lock;
    const Arena& arena = current_device().arena;
    *total = arena.limit();
    *free = arena.limit() > arena.used() ? arena.limit() - arena.used() : 0;
    return success;
}

struct PointerAttributes {  // hipPointerAttribute_t
    int type, device;
    void *device_pointer, *host_pointer;
    int is_managed;
    unsigned flags;
};

FAKEHIP_API Error hipPointerGetAttributes(PointerAttributes* attributes, const void* address) {
    // CuPy's ROCm build translates these numbers so that its users see CUDA's.
    enum { host = 0, device = 1, unregistered = 4 };
    Lock lock;
    const Block* block = find_block(address);
    *attributes = {unregistered, 0, nullptr, nullptr, 0, 0};
    if (!block) return success;
    attributes->type = block->on_device() ? device : host;
    attributes->device = block->device;
    attributes->device_pointer = (void*)address;
    attributes->host_pointer = block->on_device() ? nullptr : (void*)address;
    attributes->is_managed = block->kind == MemoryKind::managed;
    return success;
}

// Sets the memory of a device at run time, to less or more than FAKEHIP_MEM (counting.py: set_memory_limit).
FAKEHIP_API int fakehip_set_memory_limit(int number, std::size_t bytes) {
    Lock lock;
    if (!is_device(number)) return invalid_device;
    device_at(number).arena.set_limit(bytes);
    return success;
}
// How much of the host may be pinned from now on; 0: as FAKEHIP_PINNED says (counting.py: pinned_limit).
FAKEHIP_API void fakehip_set_pinned_limit(std::size_t bytes) {
    Lock lock;
    pinned_limit = bytes;
}
FAKEHIP_API std::size_t fakehip_memory_limit(int number) { return is_device(number) ? device_at(number).arena.limit() : 0; }
FAKEHIP_API std::size_t fakehip_memory_used(int number) { return is_device(number) ? device_at(number).arena.used() : 0; }
