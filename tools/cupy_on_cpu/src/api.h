// Shared by every file of the shim: how a function is exported, the error codes, the one lock.
#pragma once
#include <mutex>

#define FAKEHIP_API extern "C" __attribute__((visibility("default")))

// The values of hipError_t that the shim gives back.
enum Error : int {
    success = 0,
    invalid_value = 1,
    out_of_memory = 2,
    not_initialized = 3,
    invalid_device = 101,
    invalid_image = 200,
    invalid_handle = 400,
    not_found = 500,
    not_ready = 600,
    peer_already_enabled = 704,
    peer_not_enabled = 705,
    illegal_address = 700,
    not_supported = 801,
    capture_unsupported = 900,
    capture_isolation = 905,
};

// What every call that reaches a device returns: success; what fakehip_lose() was given, for ever; or not_initialized in a
// process that was forked from one that had used a device.
Error unusable();

// Remembers the error for hipGetLastError of this thread and returns it.
Error report(Error error);

// Python threads may call in at the same time; the devices do one thing at a time. Recursive, because a host callback
// that a stream runs may itself call the runtime.
class Lock {
  public:
    Lock() : guard_(mutex()) {}

  private:
    static std::recursive_mutex& mutex();
    std::lock_guard<std::recursive_mutex> guard_;
};
