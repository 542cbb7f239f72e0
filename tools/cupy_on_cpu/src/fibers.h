// One block of threads that wait for each other: each thread is a fiber with a stack of its own.
#pragma once
#include <string>

#include "../include/cupy_on_cpu/launch.h"

// Runs every thread of the block at blockIdx. `kernel` names it in messages.
void run_block_of_fibers(const cupy_on_cpu::KernelDescription& description, void** arguments, bool reverse,
                         const std::string& kernel);
