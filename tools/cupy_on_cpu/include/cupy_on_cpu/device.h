// The device side of CUDA C++, for g++. The runtime compiler puts this header before every kernel source.
#pragma once
#include "device_functions.h"
#include "device_language.h"
