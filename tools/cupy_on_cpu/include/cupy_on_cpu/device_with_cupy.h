// The same, and the headers with which every kernel that CuPy generates begins; precompiled, they cost nothing.
#pragma once
#include "device.h"

#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>
#include <cupy/hip_workaround.cuh>
