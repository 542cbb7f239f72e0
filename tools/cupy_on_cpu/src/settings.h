// The environment variables FAKEHIP_*, read once. The README explains each.
#pragma once
#include <cstddef>
#include <string>

struct Settings {
    bool lazy;                  // FAKEHIP_LAZY=1 or 2: work waits until something orders it
    bool newest_stream_first;   // FAKEHIP_LAZY=2: of streams that nothing orders, the newest runs first
    bool late_pageable;         // FAKEHIP_LATE_PAGEABLE=1: pageable memory, too, is read late
    bool protect;               // FAKEHIP_PROTECT=1: device memory faults when the host touches it
    bool execute;               // FAKEHIP_NOEXEC=1 makes it false: kernels and GEMMs do nothing
    bool log;                   // FAKEHIP_LOG=1: one line for each launch, GEMM and copy
    bool reverse;               // FAKEHIP_REVERSE=1: blocks and threads run from the last to the first
    bool peer_access;           // FAKEHIP_PEER=0 makes it false: no device can read another's memory
    bool blas_in_capture;       // FAKEHIP_ALLOW_BLAS_CAPTURE=1
    bool keep_sources;          // FAKEHIP_KEEP=1: the folder of each compilation stays
    std::size_t memory;         // FAKEHIP_MEM: bytes of each device
    std::size_t pinned_memory;  // FAKEHIP_PINNED: bytes of the host that may be pinned
    int devices;                // FAKEHIP_DEVICES
    std::string compiler_flags; // FAKEHIP_CXXFLAGS: more flags for g++
};

const Settings& settings();
void log_line(const char* format, ...) __attribute__((format(printf, 1, 2)));
