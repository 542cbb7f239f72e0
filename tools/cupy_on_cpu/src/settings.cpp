#include "settings.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

std::string text(const char* name) {
    const char* value = getenv(name);
    return value ? value : "";
}

bool flag(const char* name, bool otherwise = false) {
    const std::string value = text(name);
    return value.empty() ? otherwise : value != "0";
}

unsigned long long number(const char* name, unsigned long long otherwise) {
    const std::string value = text(name);
    return value.empty() ? otherwise : std::stoull(value, nullptr, 0);
}

Settings read_environment() {
    Settings s;
    s.lazy = flag("FAKEHIP_LAZY");
    s.newest_stream_first = text("FAKEHIP_LAZY") == "2";
    s.late_pageable = flag("FAKEHIP_LATE_PAGEABLE");
    s.protect = flag("FAKEHIP_PROTECT");
    s.execute = !flag("FAKEHIP_NOEXEC");
    s.log = flag("FAKEHIP_LOG");
    s.reverse = flag("FAKEHIP_REVERSE");
    s.peer_access = flag("FAKEHIP_PEER", true);
    s.blas_in_capture = flag("FAKEHIP_ALLOW_BLAS_CAPTURE");
    s.keep_sources = flag("FAKEHIP_KEEP");
    s.memory = number("FAKEHIP_MEM", 4ull << 30);
    s.pinned_memory = number("FAKEHIP_PINNED", ~0ull);
    s.devices = std::clamp<int>(number("FAKEHIP_DEVICES", 2), 1, 16);
    s.compiler_flags = text("FAKEHIP_CXXFLAGS");
    return s;
}

}  // namespace

const Settings& settings() {
    static const Settings read_once = read_environment();
    return read_once;
}

void log_line(const char* format, ...) {
    if (!settings().log) return;
    va_list arguments;
    va_start(arguments, format);
    fputs("fakehip: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}
