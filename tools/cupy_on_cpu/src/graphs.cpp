// Graphs: what a stream was told while capturing, to be told again. Nodes run in the order in which they were captured,
// which is one of the orders a device may choose.
#include "api.h"
#include "counters.h"
#include "devices.h"
#include "settings.h"
#include "streams.h"

using Graph = std::vector<Task>;
enum CaptureStatus { not_capturing = 0, capturing = 1 };

FAKEHIP_API Error hipStreamBeginCapture(void* handle, int) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    if (stream == stream->device.null_stream || stream->capture) return report(capture_unsupported);
    stream->capture = std::make_shared<Capture>();
    return success;
}

FAKEHIP_API Error hipStreamEndCapture(void* handle, Graph** graph) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream || !stream->capture) return report(invalid_value);
    const auto capture = stream->capture;
    *graph = new Graph(capture->tasks);
    for (auto& other : stream->device.streams)
        if (other->capture == capture) other->capture = nullptr;  // itself, and those that joined through events
    return success;
}

FAKEHIP_API Error hipStreamIsCapturing(void* handle, int* status) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    *status = stream->capture ? capturing : not_capturing;
    return success;
}

FAKEHIP_API Error hipStreamGetCaptureInfo(void* handle, int* status, unsigned long long* id) {
    if (id) *id = 1;
    return hipStreamIsCapturing(handle, status);
}

FAKEHIP_API Error hipGraphInstantiate(Graph** executable, Graph* graph, void*, char*, std::size_t) {
    Lock lock;
    *executable = new Graph(*graph);
    return success;
}

FAKEHIP_API Error hipGraphLaunch(Graph* executable, void* handle) {
    Lock lock;
    const auto stream = find_stream(handle);
    if (!stream) return report(invalid_handle);
    ++counters.graph_launches;
    log_line("launch a graph of %zu nodes", executable->size());
    for (const Task& task : *executable) stream->submit(task);
    return success;
}

FAKEHIP_API Error hipGraphDestroy(Graph* graph) { return delete graph, success; }
FAKEHIP_API Error hipGraphExecDestroy(Graph* executable) { return delete executable, success; }
