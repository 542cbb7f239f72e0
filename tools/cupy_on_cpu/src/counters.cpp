#include "counters.h"

#include "api.h"

Counters counters;

namespace {
bool noting_names = false;
std::string noted_names;
}  // namespace

void note_launch(const std::string& kernel) {
    if (noting_names) noted_names += kernel + "\n";
}

// ---- read by counting.py through ctypes

#define FAKEHIP_NAME(name) #name " "
FAKEHIP_API const char* fakehip_counter_names() { return FAKEHIP_COUNTERS(FAKEHIP_NAME); }
#undef FAKEHIP_NAME

FAKEHIP_API void fakehip_read_counters(long* values) {
    Lock lock;
#define FAKEHIP_STORE(name) *values++ = counters.name;
    FAKEHIP_COUNTERS(FAKEHIP_STORE)
#undef FAKEHIP_STORE
}

// The names of the kernels launched since names were switched on, one a line; switching either way empties the list.
FAKEHIP_API void fakehip_note_names(int on) {
    Lock lock;
    noting_names = on;
    noted_names.clear();
}
FAKEHIP_API const char* fakehip_noted_names() {
    Lock lock;
    return noted_names.c_str();
}
