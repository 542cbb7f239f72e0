// What the program asked of the devices, counted. counting.py reads these by name.
#pragma once
#include <string>

#define FAKEHIP_COUNTERS(counter)                                                                    \
    counter(launches)       /* kernels launched by the host, a graph's own kernels not counted */    \
    counter(graph_launches)                                                                          \
    counter(gemms)          /* matrix products, a batched one counts once */                         \
    counter(blas)           /* every BLAS call, GEMMs included */                                    \
    counter(h2d)            /* copies host to device, and their bytes */                             \
    counter(h2d_bytes)                                                                               \
    counter(d2h)                                                                                     \
    counter(d2h_bytes)                                                                               \
    counter(d2d)            /* copies within a device or between two */                              \
    counter(d2d_bytes)                                                                               \
    counter(memsets)                                                                                 \
    counter(syncs)          /* calls that make the host wait for a device */                         \
    counter(mallocs)        /* hipMalloc: CuPy's pool asked the device for memory */                 \
    counter(malloc_bytes)                                                                            \
    counter(frees)                                                                                   \
    counter(pinned_mallocs)                                                                          \
    counter(pinned_malloc_bytes)                                                                     \
    counter(compiles)       /* kernels given to g++, cached ones not counted */                      \
    counter(streams)                                                                                 \
    counter(events)                                                                                  \
    counter(event_records)                                                                           \
    counter(event_waits)

struct Counters {
#define FAKEHIP_FIELD(name) long name = 0;
    FAKEHIP_COUNTERS(FAKEHIP_FIELD)
#undef FAKEHIP_FIELD
};

extern Counters counters;

// Adds a kernel's name to the list that counting.py shows; does nothing while nobody counts.
void note_launch(const std::string& kernel);
