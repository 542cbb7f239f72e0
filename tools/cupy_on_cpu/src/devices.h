// The fake devices and which of them is current.
#pragma once
#include <memory>
#include <vector>

#include "memory.h"
#include "streams.h"

struct Device {
    explicit Device(int number);

    const int number;
    Arena arena;
    std::shared_ptr<Stream> null_stream;            // the legacy default stream
    std::vector<std::shared_ptr<Stream>> streams;   // every other stream that may still hold work
    DeviceSet peers = 0;                            // devices whose memory kernels of this one may touch

    DeviceSet reachable() const { return peers | only(number); }
    void synchronize();                             // runs everything that its streams hold
};

Device& device_at(int number);          // number must be valid
bool is_device(int number);
Device& current_device();               // of the calling thread
void synchronize_all_devices();
