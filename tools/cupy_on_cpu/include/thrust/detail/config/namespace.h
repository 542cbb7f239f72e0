// CuPy's complex.cuh includes this file of Thrust for these two macros alone.
#pragma once
#define THRUST_NAMESPACE_BEGIN namespace thrust {
#define THRUST_NAMESPACE_END }
