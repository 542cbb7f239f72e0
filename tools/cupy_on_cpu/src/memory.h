// Memory: what belongs to which device, and when the host may touch it.
#pragma once
#include <cstddef>
#include <cstdint>

using DeviceSet = unsigned;  // bit d stands for device d
constexpr DeviceSet only(int device) { return 1u << device; }

enum class MemoryKind { device, managed, pinned, module_variable };

struct Block {
    std::uintptr_t start;
    std::size_t bytes;
    MemoryKind kind;
    int device;

    bool on_device() const { return kind != MemoryKind::pinned; }
    std::uintptr_t end() const { return start + bytes; }
};

// The block that holds this address, or null: then the address is ordinary (pageable) host memory.
const Block* find_block(const void* address);

// Makes a variable of a kernel module known as memory of a device.
void register_module_variable(void* address, std::size_t bytes, int device);

// The memory of one device: one reserved range of addresses, so that FAKEHIP_PROTECT can open and close all of it with
// one system call.
class Arena {
  public:
    explicit Arena(std::size_t limit);

    void* allocate(std::size_t bytes, MemoryKind kind, int device);  // null when the limit is reached
    void release(const Block& block);
    void set_accessible(bool accessible);

    std::size_t limit() const { return limit_; }
    void set_limit(std::size_t bytes) { limit_ = bytes; }
    std::size_t used() const { return used_; }

  private:
    std::uintptr_t find_gap(std::size_t bytes) const;
    void grow_to(std::uintptr_t end);

    std::uintptr_t base_, capacity_;
    std::size_t limit_, used_ = 0;
    std::uintptr_t touched_;  // addresses below this have been handed out at some time
};

// While one of these lives, the memory of these devices can be read and written: "the device" is at work.
class MemoryWindow {
  public:
    explicit MemoryWindow(DeviceSet devices);
    ~MemoryWindow();
    MemoryWindow(const MemoryWindow&) = delete;

  private:
    DeviceSet devices_;
};
