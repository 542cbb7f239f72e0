#include "devices.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "api.h"
#include "counters.h"
#include "settings.h"

namespace {

thread_local int current_number = 0;
thread_local Error last_error = success;
Error lost = success;

std::vector<std::unique_ptr<Device>> make_devices() {
    std::vector<std::unique_ptr<Device>> devices;
    for (int number = 0; number < settings().devices; ++number) devices.push_back(std::make_unique<Device>(number));
    return devices;
}

// Never destroyed: CuPy's own clean-up at exit still frees memory after static destructors have run.
std::vector<std::unique_ptr<Device>>& devices() {
    static auto& all = *new std::vector<std::unique_ptr<Device>>(make_devices());
    return all;
}

}  // namespace

std::recursive_mutex& Lock::mutex() {
    static auto& only_one = *new std::recursive_mutex;
    return only_one;
}

Error report(Error error) {
    if (error != success) last_error = error;
    return error;
}

Error unusable() {
    static const pid_t first_user = getpid();
    return lost != success ? lost : getpid() == first_user ? success : not_initialized;
}
FAKEHIP_API void fakehip_lose(int error) { lost = Error(error); }

Device::Device(int number) : number(number), arena(settings().memory), null_stream(std::make_shared<Stream>(*this, true)) {}

void Device::synchronize() {
    std::vector<std::shared_ptr<Stream>> order(streams.begin(), streams.end());
    order.insert(order.begin(), null_stream);
    if (settings().newest_stream_first) order.assign(order.rbegin(), order.rend());
    for (auto& stream : order) stream->run_all();
    forget_destroyed_streams(streams);
}

bool is_device(int number) { return 0 <= number && number < int(devices().size()); }
Device& device_at(int number) { return *devices().at(number); }
Device& current_device() { return device_at(current_number); }

void synchronize_all_devices() {
    for (auto& device : devices()) device->synchronize();
}

// ---- errors

FAKEHIP_API Error hipGetLastError() {
    const Error error = last_error;
    last_error = success;
    return error;
}
FAKEHIP_API Error hipPeekAtLastError() { return last_error; }

FAKEHIP_API const char* hipGetErrorName(Error error) {
    switch (error) {
        case success: return "hipSuccess";
        case invalid_value: return "hipErrorInvalidValue";
        case out_of_memory: return "hipErrorOutOfMemory";
        case not_initialized: return "hipErrorNotInitialized";
        case invalid_device: return "hipErrorInvalidDevice";
        case invalid_image: return "hipErrorInvalidImage";
        case invalid_handle: return "hipErrorInvalidHandle";
        case not_found: return "hipErrorNotFound";
        case not_ready: return "hipErrorNotReady";
        case peer_already_enabled: return "hipErrorPeerAccessAlreadyEnabled";
        case peer_not_enabled: return "hipErrorPeerAccessNotEnabled";
        case illegal_address: return "hipErrorIllegalAddress";
        case not_supported: return "hipErrorNotSupported";
        case capture_unsupported: return "hipErrorStreamCaptureUnsupported";
        case capture_isolation: return "hipErrorStreamCaptureIsolation";
    }
    return "hipErrorUnknown";
}
FAKEHIP_API const char* hipGetErrorString(Error error) { return hipGetErrorName(error); }

// ---- the current device

FAKEHIP_API Error hipGetDeviceCount(int* count) {
    if (unusable() == not_initialized) return report(not_initialized);
    *count = devices().size();
    return success;
}
FAKEHIP_API Error hipGetDevice(int* number) {
    *number = current_number;
    return success;
}
FAKEHIP_API Error hipSetDevice(int number) {
    if (!is_device(number)) return report(invalid_device);
    current_number = number;
    return success;
}
FAKEHIP_API Error hipDeviceSynchronize() {
    Lock lock;
    if (unusable()) return report(unusable());
    ++counters.syncs;
    if (a_capture_is_open(current_device())) return report(capture_unsupported);
    current_device().synchronize();
    return success;
}

// ---- properties. ROCm 7.0.51831, so that CuPy takes the same branches as with the real libraries.

static const int version = 70051831;
FAKEHIP_API Error hipDriverGetVersion(int* value) { return *value = version, success; }
FAKEHIP_API Error hipRuntimeGetVersion(int* value) { return *value = version, success; }

// The numbers of hipDeviceAttribute_t (HIP 6 and 7).
enum Attribute { capability_major = 23, threads_per_block = 56, capability_minor = 61, multiprocessors = 63 };

FAKEHIP_API Error hipDeviceGetAttribute(int* value, int attribute, int number) {
    if (!is_device(number)) return report(invalid_device);
    switch (attribute) {
        case capability_major: *value = 9; break;
        case capability_minor: *value = 0; break;
        case threads_per_block: *value = 1024; break;
        case multiprocessors: *value = 8; break;
        default: *value = 0;
    }
    return success;
}

// The beginning of hipDeviceProp_tR0600, as far as CuPy reads it by name.
struct DeviceProperties {
    char name[256];
    char uuid[16], luid[8];
    unsigned luid_mask;
    std::size_t total_memory, shared_memory_per_block;
    int registers_per_block, warp_size;
    std::size_t memory_pitch;
    int threads_per_block, block_dimensions[3], grid_dimensions[3];
    int clock_rate;
    std::size_t constant_memory;
    int major, minor;
    char rest[1472 - 368];
};
static_assert(offsetof(DeviceProperties, total_memory) == 288 && offsetof(DeviceProperties, warp_size) == 308);
static_assert(sizeof(DeviceProperties) == 1472);

FAKEHIP_API Error hipGetDevicePropertiesR0600(DeviceProperties* properties, int number) {
    if (!is_device(number)) return report(invalid_device);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "CuPy on CPU, device %d", number);
    properties->total_memory = device_at(number).arena.limit();
    properties->shared_memory_per_block = 48 << 10;
    properties->registers_per_block = 65536;
    properties->warp_size = 64;
    properties->threads_per_block = 1024;
    for (int& size : properties->block_dimensions) size = 1024;
    for (int& size : properties->grid_dimensions) size = 65535;
    properties->grid_dimensions[0] = 2147483647;
    properties->constant_memory = 64 << 10;
    properties->major = 9;
    return success;
}

FAKEHIP_API Error hipDeviceGetLimit(std::size_t* value, int) { return *value = 8 << 20, success; }

FAKEHIP_API Error hipDeviceGetPCIBusId(char* text, int bytes, int number) {
    if (!is_device(number)) return report(invalid_device);
    snprintf(text, bytes, "0000:%02x:00.0", number);
    return success;
}
FAKEHIP_API Error hipDeviceGetByPCIBusId(int* number, const char* text) {
    unsigned bus = 0;
    if (sscanf(text, "%*x:%x:", &bus) != 1 || !is_device(bus)) return report(invalid_value);
    *number = bus;
    return success;
}

// ---- peers

FAKEHIP_API Error hipDeviceCanAccessPeer(int* can, int number, int peer) {
    if (!is_device(number) || !is_device(peer)) return report(invalid_device);
    *can = number != peer && settings().peer_access;
    return success;
}
FAKEHIP_API Error hipDeviceEnablePeerAccess(int peer, unsigned) {
    Lock lock;
    Device& device = current_device();
    if (!is_device(peer) || peer == device.number || !settings().peer_access) return report(invalid_device);
    if (device.peers & only(peer)) return report(peer_already_enabled);
    device.peers |= only(peer);
    return success;
}
FAKEHIP_API Error hipDeviceDisablePeerAccess(int peer) {
    Lock lock;
    Device& device = current_device();
    if (!is_device(peer) || !(device.peers & only(peer))) return report(peer_not_enabled);
    device.peers &= ~only(peer);
    return success;
}

// ---- profiler marks, which CuPy sends and nobody here reads

FAKEHIP_API void roctxMarkA(const char*) {}
FAKEHIP_API int roctxRangePushA(const char*) { return 0; }
FAKEHIP_API int roctxRangePop() { return 0; }
FAKEHIP_API void roctracer_start() {}
FAKEHIP_API void roctracer_stop() {}
