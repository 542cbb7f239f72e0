#include "streams.h"

#include <algorithm>
#include <map>

#include "api.h"
#include "counters.h"
#include "devices.h"
#include "settings.h"

namespace {

std::map<void*, std::shared_ptr<Stream>>& live_streams() {
    static auto& all = *new std::map<void*, std::shared_ptr<Stream>>;
    return all;
}

// The calling thread's own default stream of the current device, a blocking one. Kept for ever, as a thread may end before
// its work does.
std::shared_ptr<Stream> thread_stream() {
    thread_local auto& mine = *new std::map<Device*, std::shared_ptr<Stream>>;
    Device& device = current_device();
    auto& stream = mine[&device];
    if (!stream) device.streams.push_back(stream = std::make_shared<Stream>(device, true));
    return stream;
}

}  // namespace

// ---- Stream

void Stream::submit(Task task) {
    if (capture) {
        capture->tasks.push_back(std::move(task));
    } else if (!settings().lazy) {
        task();
    } else {
        follow_legacy_rules();
        enqueue(std::move(task));
    }
}

void Stream::submit_work(DeviceSet touches, Task task) {
    submit([touches, task = std::move(task)] {
        MemoryWindow window(touches);
        task();
    });
}

// The legacy default stream waits for all earlier work of the blocking streams, and they wait for its. Non-blocking
// streams have no such order: against them even the null stream may be late, as on a GPU.
void Stream::follow_legacy_rules() {
    if (this != device.null_stream.get()) {
        if (blocking) wait_for(device.null_stream, device.null_stream->submitted());
        return;
    }
    for (auto& stream : device.streams)
        if (stream->blocking) wait_for(stream, stream->submitted());
}

void Stream::wait_for(std::shared_ptr<Stream> other, long position) {
    if (other.get() == this || other->has_completed(position)) return;
    enqueue([other, position] { other->run_until(position); });
}

void Stream::enqueue(Task task) {
    pending_.push_back(std::move(task));
    ++submitted_;
    questions_ = 0;
}

bool Stream::ask_whether_completed(long position) {
    if (has_completed(position)) return true;
    if (++questions_ > patience) run_until(completed_ + 1);
    return false;
}

// A task may make other streams run, and these may ask this one for earlier tasks: done already, since it is in order.
void Stream::run_until(long position) {
    while (completed_ < std::min(position, submitted_) && !pending_.empty()) {
        Task task = std::move(pending_.front());
        pending_.pop_front();
        task();
        ++completed_;
    }
}

std::shared_ptr<Stream> find_stream(void* handle) {
    const auto legacy_default_handle = (void*)1, per_thread_handle = (void*)2;
    if (!handle || handle == legacy_default_handle) return current_device().null_stream;
    if (handle == per_thread_handle) return thread_stream();
    const auto found = live_streams().find(handle);
    return found == live_streams().end() ? nullptr : found->second;
}

bool a_capture_is_open(const Device& device) {
    return std::any_of(device.streams.begin(), device.streams.end(), [](auto& s) { return bool(s->capture); });
}

void forget_destroyed_streams(std::vector<std::shared_ptr<Stream>>& streams) {
    streams.erase(std::remove_if(streams.begin(), streams.end(), [](auto& s) { return s->destroyed && s->is_idle(); }),
                  streams.end());
}

// ---- the functions of HIP

FAKEHIP_API Error hipStreamCreateWithFlags(void** handle, unsigned flags) {
    const unsigned non_blocking = 1;
    Lock lock;
    ++counters.streams;
    Device& device = current_device();
    auto stream = std::make_shared<Stream>(device, !(flags & non_blocking));
    device.streams.push_back(stream);
    live_streams()[stream.get()] = stream;
    *handle = stream.get();
    return success;
}
FAKEHIP_API Error hipStreamCreate(void** handle) { return hipStreamCreateWithFlags(handle, 0); }
FAKEHIP_API Error hipStreamCreateWithPriority(void** handle, unsigned flags, int) {
    return hipStreamCreateWithFlags(handle, flags);
}

// Returns at once, as on a GPU: what the stream still holds runs later.
FAKEHIP_API Error hipStreamDestroy(void* handle) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream || !handle) return report(invalid_handle);
    stream->destroyed = true;
    live_streams().erase(handle);
    forget_destroyed_streams(stream->device.streams);
    return success;
}

FAKEHIP_API Error hipStreamSynchronize(void* handle) {
    Lock lock;
    if (unusable()) return report(unusable());
    ++counters.syncs;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    if (stream->capture) return report(capture_unsupported);
    stream->run_all();
    return success;
}

FAKEHIP_API Error hipStreamQuery(void* handle) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    if (stream->capture) return report(capture_unsupported);
    return stream->ask_whether_completed(stream->submitted()) ? success : not_ready;
}

FAKEHIP_API Error hipStreamGetFlags(void* handle, unsigned* flags) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    *flags = stream->blocking ? 0 : 1;
    return success;
}
FAKEHIP_API Error hipStreamGetPriority(void*, int* priority) { return *priority = 0, success; }
FAKEHIP_API int hipGetStreamDeviceId(void* handle) {
    Lock lock;
    const auto stream = find_stream(handle);
    return stream ? stream->device.number : -1;
}

static Error submit_host_function(void* handle, Task task) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    stream->submit(std::move(task));
    return success;
}
FAKEHIP_API Error hipLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    return submit_host_function(handle, [=] { function(data); });
}
FAKEHIP_API Error hipStreamAddCallback(void* handle, void (*function)(void*, Error, void*), void* data, unsigned) {
    return submit_host_function(handle, [=] { function(handle, success, data); });
}
