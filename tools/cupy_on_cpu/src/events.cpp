// Events: a place in a stream that the host and other streams can wait for.
#include <time.h>

#include <memory>

#include "api.h"
#include "counters.h"
#include "devices.h"
#include "streams.h"

namespace {

// One hipEventRecord. Waiters keep the recording they saw, for an event may be recorded again before they run.
struct Recording {
    std::shared_ptr<Stream> stream;
    long position = 0;                  // the stream has reached the event when so many tasks are done
    double milliseconds = 0;            // when that was
    std::shared_ptr<Capture> capture;   // not null if recorded while capturing: then it is no moment in time

    bool reached() const { return stream->has_completed(position); }
    void force() const { stream->run_until(position); }
};

struct Event {
    Device& device;
    const bool timed;
    std::shared_ptr<Recording> latest;  // null before the first record; waiting for it is then no wait at all
};

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

}  // namespace

FAKEHIP_API Error hipEventCreateWithFlags(Event** event, unsigned flags) {
    const unsigned disable_timing = 2;
    Lock lock;
    ++counters.events;
    *event = new Event{current_device(), !(flags & disable_timing), nullptr};
    return success;
}
FAKEHIP_API Error hipEventCreate(Event** event) { return hipEventCreateWithFlags(event, 0); }

FAKEHIP_API Error hipEventDestroy(Event* event) {
    Lock lock;
    delete event;
    return success;
}

FAKEHIP_API Error hipEventRecord(Event* event, void* handle) {
    Lock lock;
    ++counters.event_records;
    const auto stream = find_stream(handle);
    if (!stream || &stream->device != &event->device) return report(invalid_handle);
    auto recording = std::make_shared<Recording>();
    recording->stream = stream;
    recording->capture = stream->capture;
    if (!stream->capture) stream->submit([recording] { recording->milliseconds = now(); });
    recording->position = stream->submitted();
    event->latest = recording;
    return success;
}

FAKEHIP_API Error hipStreamWaitEvent(void* handle, Event* event, unsigned) {
    Lock lock;
    ++counters.event_waits;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    const auto recording = event->latest;
    if (!recording) return success;
    if (recording->capture) {  // the stream joins the capture
        stream->capture = recording->capture;
        return success;
    }
    if (stream->capture) return report(capture_isolation);
    stream->wait_for(recording->stream, recording->position);
    return success;
}

FAKEHIP_API Error hipEventSynchronize(Event* event) {
    Lock lock;
    ++counters.syncs;
    if (!event->latest) return success;
    if (event->latest->capture) return report(capture_unsupported);
    event->latest->force();
    return success;
}

FAKEHIP_API Error hipEventQuery(Event* event) {
    Lock lock;
    if (!event->latest) return success;
    if (event->latest->capture) return report(capture_unsupported);
    return event->latest->stream->ask_whether_completed(event->latest->position) ? success : not_ready;
}

FAKEHIP_API Error hipEventElapsedTime(float* milliseconds, Event* from, Event* to) {
    Lock lock;
    if (!from->timed || !to->timed || !from->latest || !to->latest) return report(invalid_handle);
    if (!from->latest->reached() || !to->latest->reached()) return report(not_ready);
    *milliseconds = to->latest->milliseconds - from->latest->milliseconds;
    return success;
}
